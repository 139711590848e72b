"""`caretta import-vits`: a folder of transformers' layout becomes a checkpoint that speaks."""

import json

import pytest
import soundfile
import theirvits

from flows.cli import main
from stages.core import checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("theirs") / "in"
    theirvits.write(place, num_speakers=2, speaker_embedding_size=8)
    return place


def test_an_imported_checkpoint_says_what_it_is_and_speaks(folder, tmp_path, capsys):
    out, wav = str(tmp_path / "out"), str(tmp_path / "a.wav")
    assert main(["import-vits", str(folder), out, "--licence", "CC-BY-NC 4.0"]) == 0
    told, command = capsys.readouterr().out.splitlines()
    assert "2 speakers, 16000 Hz, reads characters, language 'eng', licence CC-BY-NC 4.0" in told
    assert checkpoint.read_meta(out)["licence"] == "CC-BY-NC 4.0"
    sets = [f"cache.dir={tmp_path / 'cache'}", *command.split(" --set ")[1:]]
    say = ["say", "He has 3 cats.", "--pipeline", "vits", "-o", wav, "--json", *(f"--set={value}" for value in sets)]
    assert main(say) == 0
    report, sound = json.loads(capsys.readouterr().out.splitlines()[-1]), soundfile.info(wav)
    assert report["ok"] == 1 and sound.samplerate == 16000 and sound.frames > 0
    assert main([*say, "--set=vits.speaker=slt"]) == 1
    assert "the speakers of" in capsys.readouterr().err


def test_the_licence_is_unknown_unless_told_and_phonemes_are_refused(folder, tmp_path, capsys):
    (folder / "tokenizer_config.json").write_text('{"language": "eng"}')
    out = str(tmp_path / "out")
    assert main(["import-vits", str(folder), out]) == 0
    found = capsys.readouterr()
    assert "licence unknown: ask its owner" in found.out and "reads phonemes of espeak" in found.err
    say = ["say", "Hi.", "--pipeline", "vits", "-o", str(tmp_path / "a.wav"), "--set=vits.speaker=speaker0"]
    assert main([*say, f"--set=vits.checkpoint={out}", f"--set=cache.dir={tmp_path / 'cache'}"]) == 1
    assert "reads phonemes of espeak" in capsys.readouterr().err
    assert main(["import-vits", str(folder), out]) == 1
    assert capsys.readouterr().err == f"caretta: {out}: is there already; name a folder that is not\n"
