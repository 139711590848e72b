"""The starter corpus with a fake teacher and a fake dictionary: what is said, what never is, resuming."""

import json

import numpy as np
import pytest
import soundfile
import tinycorpus

from stages.core.config import ConfigError
from stages.data.corpora import grammar, read_corpus, starter, wordnet
from stages.data.manifest import read_manifest

KEPT_OUT = "The old ferry leaves every morning."


@pytest.fixture
def config(tmp_path, monkeypatch):
    tinycorpus.write_wordnet(tmp_path / "wordnet")
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "a.txt").write_text(KEPT_OUT + "\n")
    monkeypatch.setattr(starter, "speak", tinycorpus.speak)
    made = grammar.sentences(400, 1)
    monkeypatch.setattr(grammar, "sentences", lambda count, seed: list(made))  # 20,000 take a second
    return starter.StarterCorpusConfig(
        out=str(tmp_path / "out"),
        wordnet=str(tmp_path / "wordnet"),
        hours={"rms": 0.004, "slt": 0.002},
        exclude=(str(tmp_path / "evaluate"),),
    )


def test_timings():
    assert starter.parse_timings("pau:0.209 ao:0.306 \n") == [("pau", 0.209), ("ao", 0.306)]
    assert starter.parse_timings("") == []


def test_texts_are_reproducible_varied_and_different(config):
    take = lambda voice: [t for t, _ in zip(starter.texts(config, voice), range(150), strict=False)]  # noqa: E731
    a = take("rms")
    assert a == take("rms") and a != take("slt")
    assert len({starter.text_key(t) for t in a}) == 150
    assert any(any(c.isdigit() for c in t) for t in a) and any(t.endswith("?") for t in a)
    assert all(t[0].isupper() or not t[0].isalpha() for t in a)


def test_evaluation_sentences_are_never_rendered(config, tmp_path):
    everything = list(starter.texts(config, "rms"))
    some = [everything[3], everything[50], everything[-1].upper().replace(" ", "  ")]
    (tmp_path / "evaluate" / "b.txt").write_text("\n".join(some))
    keys = {starter.text_key(t) for t in starter.texts(config, "rms")}
    assert not keys & {starter.text_key(t) for t in [KEPT_OUT, *some]} and len(keys) > 100


def test_missing_exclusions_stop_everything(config, tmp_path):
    (tmp_path / "evaluate" / "a.txt").unlink()
    (tmp_path / "evaluate").rmdir()
    with pytest.raises(ConfigError, match="exclude: .*evaluate is not there"):
        next(starter.texts(config, "rms"))


def test_render_reaches_its_hours_and_its_manifest_can_be_read(config, tmp_path):
    calls = []
    rows = read_manifest(starter.render(config, lambda *a: calls.append(a)))
    for voice, hours in config.hours.items():
        assert hours * 3600 <= sum(r.duration for r in rows if r.speaker == voice) < hours * 3600 + 10
    assert calls[-1][0] == "slt" and calls[-1][1] >= calls[-1][2] == 0.002
    assert all(r.audio.is_file() and r.phones[0][0] == r.phones[-1][0] == "pau" for r in rows)
    hashes = (tmp_path / "out" / "texts.sha256").read_text().split()
    assert hashes == sorted({starter.text_key(r.text) for r in rows})


def test_render_goes_on_after_a_crash(config, tmp_path, monkeypatch):
    manifest = starter.render(config)
    whole = manifest.read_text()
    manifest.unlink()
    journal = tmp_path / "out" / "journal-rms.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:5]) + lines[5][:20])  # killed in the middle of a line
    said = []
    monkeypatch.setattr(
        starter, "speak", lambda voice, text, *rest: said.append(text) or tinycorpus.speak(voice, text, *rest)
    )
    assert starter.render(config).read_text() == whole
    assert len(said) == len(lines) - 5


def test_what_is_missing_is_named(config, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="flite is not installed; run `apt-get install flite`"):
        starter.speak("rms", "Hi.", tmp_path / "x.wav")
    with pytest.raises(ConfigError, match="run `apt-get install wordnet-base`"):
        wordnet.read_glosses(tmp_path / "nowhere")


def test_flite_is_called_and_its_timings_are_read(tmp_path, monkeypatch):
    tinycorpus.write_flite(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    said = starter.speak("rms", "Hello there.", tmp_path / "x.wav")
    assert said == tinycorpus.speak("rms", "Hello there.", tmp_path / "y.wav")
    assert (tmp_path / "x.wav").read_bytes() == (tmp_path / "y.wav").read_bytes()
    assert sorted(p.name for p in tmp_path.glob("*.wav*")) == ["x.wav", "y.wav"]


def test_a_pseudo_speaker_is_higher_and_as_fast(tmp_path, monkeypatch):
    """The fake flite knows no stretch: played 1.25 times faster, its sound and timings are 1.25 times shorter."""
    tinycorpus.write_flite(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    plain = starter.speak("rms", "Hello there.", tmp_path / "x.wav")
    shifted = starter.speak("rms", "Hello there.", tmp_path / "y.wav", 1.25)
    assert [p for p, _ in shifted] == [p for p, _ in plain]
    assert [end * 1.25 for _, end in shifted] == pytest.approx([end for _, end in plain], abs=1e-3)
    one, other = (soundfile.read(tmp_path / name)[0] for name in ("x.wav", "y.wav"))
    assert len(other) == pytest.approx(len(one) / 1.25, abs=1)
    loudest = [np.abs(np.fft.rfft(s, 1 << 16)).argmax() for s in (one, other)]
    assert loudest[1] == pytest.approx(1.25 * loudest[0], rel=0.02)


def test_a_pseudo_speaker_that_is_no_voice_is_refused():
    with pytest.raises(ValueError, match="rate must be 0.7 to 1.4, not 2.0"):
        starter.PseudoSpeaker("rms", 2.0)


def test_a_flite_that_fails_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "flite").write_text("#!/bin/sh\necho no such voice >&2\nexit 3\n")
    (tmp_path / "flite").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(RuntimeError, match="flite failed on 'Hi.': no such voice"):
        starter.speak("rms", "Hi.", tmp_path / "x.wav")


def test_corpus_configs(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("out: x\nhours: {rms: 1}\n")
    assert read_corpus(path, ["hours.rms=0.05"]).config.hours["rms"] == 0.05
    for text, message in (
        ("corpus: wordnet", "'wordnet' is no corpus"),
        ("corpus: nix", "there is no corpus 'nix'"),
        ("huors: 1", "mean 'hours'"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_corpus(path)


def test_grammar_and_wordnet_sentences():
    made = grammar.sentences(50, 3)
    assert made == grammar.sentences(50, 3) and len(set(made)) == 50 and not any("{" in t for t in made)
    gloss = ("noun", "ferry", 'a boat that carries people and cars; "the ferry leaves at noon"')
    assert wordnet.examples([gloss]) == ["the ferry leaves at noon"]
    assert wordnet.definitions([gloss]) == ["a ferry is a boat that carries people and cars"]
    assert not any(wordnet.is_plain(t) for t in ("H2O is water", "one", "NATO met", "a -- b c", "x " * 26))


def test_starter_manifest_has_no_evaluation_sentence():
    """The real ones: what the released models were trained on, and every evaluation set of the repository."""
    from stages.core.checkpoint import ROOT

    released = ROOT / "artifacts" / "starter" / "texts.sha256"
    if not released.is_file():
        pytest.skip("no released models")
    keys = set(released.read_text().split())
    assert len(keys) > 1000 and not keys & starter.excluded_keys(("configs/evaluate",)), json.dumps(
        "evaluation sentences were rendered"
    )
