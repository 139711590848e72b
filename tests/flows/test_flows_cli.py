"""The command line: what it prints, how it exits, and one clear sentence for every bad input."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from flows import commands, outputs

ROOT = Path(__file__).resolve().parents[2]


def python(code, *argv, cwd=ROOT, **env):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)], cwd=cwd, check=False, capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fakes'}"} | env,
    )  # fmt: skip


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom flows.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print('heavy:', [m for m in ('torch', 'prefect', 'numpy', 'yaml', 'soundfile') if m in sys.modules])"
    )
    done = python(code)
    assert "say" in done.stdout and done.stdout.rstrip().endswith("heavy: []"), done.stdout + done.stderr


def test_say_imports_neither_torch_nor_prefect_when_stages_do_not(world):
    code = (
        "import sys, pathlib, fakestages\nfakestages.install(pathlib.Path(sys.argv[1]))\nfrom flows.cli import main\n"
        "code = main(['say', 'Hello there.'])\n"
        "print('heavy:', code, [m for m in ('torch', 'prefect') if m in sys.modules])"
    )
    done = python(code, world, cwd=world)
    assert done.stdout.rstrip().endswith("heavy: 0 []"), done.stdout + done.stderr


def test_say_writes_sound_and_reports(caretta, world):
    code, out, err = caretta("say", "Hello there. How are you?", "--json", "-o", "a.wav")
    report = json.loads(out.splitlines()[-1])
    assert code == 0 and err == ""
    assert (report["items"], report["ok"], report["failed"], report["seed"], report["output"]) == (2, 2, 0, 0, "a.wav")
    assert report["stage_calls"]["autoregressive"] == 12 and len(report["scores"][0]["scores"]["clip"]) == 6
    samples, rate = soundfile.read("a.wav")
    assert rate == 16000 and len(samples) / rate == pytest.approx(report["audio_seconds"], abs=1e-3)
    code, out, _ = caretta("say", "Hello there. How are you?", "--json", "-o", "b.wav")
    assert set(json.loads(out)["stage_calls"].values()) == {0}
    assert (world / "a.wav").read_bytes() == (world / "b.wav").read_bytes()


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_say_formats(caretta, ending):
    assert caretta("say", "Hello.", "-o", f"x.{ending}")[0] == 0
    assert soundfile.info(f"x.{ending}").format == ending.upper()


def test_say_reads_files_and_standard_input(caretta, world, monkeypatch):
    (world / "t.txt").write_bytes(b"\xef\xbb\xbfHello there.")
    assert caretta("say", "--file", "t.txt", "-o", "a.wav")[0] == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Hello there.")))
    assert caretta("say", "-", "-o", "b.wav")[0] == 0
    assert (world / "a.wav").read_bytes() == (world / "b.wav").read_bytes()


def test_cache_dir_moves_the_store(caretta, world):
    caretta("say", "Hello.", "--set", "cache.dir=elsewhere")
    assert (world / "elsewhere").is_dir() and not (world / "artifacts").exists()
    assert " 0 in quarantine" in caretta("cache", "stats", "--set", "cache.dir=elsewhere")[1]
    assert "0 damaged" in caretta("cache", "verify", "--set", "cache.dir=elsewhere")[1]
    assert "unknown key 'cach'" in caretta("cache", "gc", "--set", "cach.dir=elsewhere")[2]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["", "-o", "x.wav"], "the text is empty"),
        ([" \n\t "], "the text is empty"),
        (["?!…, --"], "nothing in the text can be spoken"),
        (["\U0001f389\U0001f389"], "nothing in the text can be spoken"),
        (["hi", "--voice", "rmz"], "unknown voice 'rmz'; did you mean 'rms'"),
        (["hi", "--preset", "fsat"], "unknown preset 'fsat'; did you mean 'fast'"),
        (["hi", "--pipeline", "melle"], "'melle' is not there yet"),
        (["hi", "--set", "vocodr.gain=1"], "unknown stage 'vocodr'; did you mean 'vocoder'"),
        (["hi", "--set", "vocoder.gian=1"], "unknown key 'gian'; did you mean 'gain'"),
        (["hi", "-o", "x.mp4"], "x.mp4: the ending says the format"),
        (["hi", "-o", "none/x.wav"], "there is no folder none"),
        (["hi", "-o", "routes"], "the ending says the format"),
        (["hi", "--file", "x.txt"], "not both"),
        (["--file", "none.txt"], "none.txt: cannot be read"),
        (["--file", "latin.txt"], "latin.txt: line 2: is not UTF-8"),
        (["hi", "--set", "cache.dir=latin.txt/cache"], "cache cannot be"),
        (["hi", "--voice", "latin.txt"], "latin.txt: cannot be read as sound"),
        (["hi", "--voice", "x" * 5000], "name"),
    ],
)
def test_bad_input_is_one_sentence(caretta, world, argv, message):
    (world / "latin.txt").write_bytes(b"fine\ncaf\xe9")
    before = sorted(p.name for p in world.iterdir() if p.name != "artifacts")
    code, _, err = caretta("say", *argv)
    complaint = err.strip().splitlines()[-1]
    assert code == 1 and complaint.startswith("caretta: ") and message in complaint and "Traceback" not in err
    assert sorted(p.name for p in world.iterdir() if p.name != "artifacts") == before  # nothing half-written


def test_some_failed_is_exit_3(caretta):
    code, out, err = caretta("say", "Hello. Now explode.", "--json")
    report = json.loads(out.splitlines()[-1])
    assert code == 3 and (report["items"], report["ok"], report["failed"]) == (2, 1, 1) and "boom" in err


def test_odd_texts_are_spoken(caretta):
    for text in ("a\x00b\x07c\x1b[31m d", "Привет hello 你好", "words in a row. " * 6_250, "a\ud800b"):
        assert caretta("say", "--", text)[0] == 0, text[:20]


def test_full_disk_leaves_nothing_half_written(caretta, world, monkeypatch):
    (world / "out.wav").write_bytes(b"old")

    def full(files):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "write_all", full)
    code, _, err = caretta("say", "Hello.")
    assert code == 1 and "out.wav: cannot be written (No space left on device)" in err
    assert (world / "out.wav").read_bytes() == b"old"


def test_voices_and_models(caretta, world, monkeypatch):
    assert caretta("voices")[1].split()[0] == "rms"
    from stages.core import checkpoint

    monkeypatch.setattr(checkpoint, "ROOT", world)
    assert caretta("models")[0] == 1
    folder = world / "artifacts" / "starter" / "vocoder"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text('{"stage": "vocoder", "step": 7, "licence": "MIT"}')
    assert "stage vocoder, step 7" in caretta("models")[1]


def test_interrupt_is_a_sentence(caretta, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_text", interrupt)
    code, _, err = caretta("say", "Hello.")
    assert code == 130 and "run it again" in err
