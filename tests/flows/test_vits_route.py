"""The vits route from the command line: say, batch, plan, reruns, convert; with the shipped route and tiny weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tinyvits

from flows import cli
from stages.core.config import ConfigError, read_yaml
from stages.core.route import ROUTES, load_route
from stages.core.voices import load_voice
from stages.evaluation.config import EvaluateConfig
from stages.evaluation.plan import plans
from stages.evaluation.systems import check_weights

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ["ultra_fast", "fast", "standard", "high_quality", "steady"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Checkpoints by sample rate."""
    root = tmp_path_factory.mktemp("weights")
    audio = tinyvits.SMALL["audio"]
    for rate in (16000, 22050):
        tinyvits.write(root / str(rate), audio={**audio, "sample_rate": rate}, accents=["us"], languages=["en"])
    return root


@pytest.fixture
def run(weights, tmp_path, monkeypatch, capsys):
    """Runs a command with the vits route of 16 kHz in an empty folder; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(command, *argv, rate=16000):
        route = ["--pipeline", "vits", "--set", f"vits.checkpoint={weights / str(rate)}"]
        code = cli.main([command, *map(str, argv), *route])
        return (code, *capsys.readouterr())

    return call


def test_say_speaks_in_each_voice_and_keeps_what_it_made(run):
    code, out, err = run("say", "Hello there. How are you?", "--voice", "slt", "--json", "-o", "a.wav")
    first = json.loads(out.splitlines()[-1])
    assert (code, err) == (0, "") and (first["items"], first["ok"], first["stage_calls"]["vits"]) == (2, 2, 2)
    assert soundfile.info("a.wav").samplerate == 16000 and first["scores"][0]["chosen"] is None
    again = json.loads(run("say", "Hello there. How are you?", "--voice", "slt", "--json", "-o", "b.wav")[1])
    assert not any(again["stage_calls"].values()) and Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    other = json.loads(
        run("say", "Hello there. How are you?", "--voice", "slt", "--json", "--set", "vits.speed=0.5", "-o", "c.wav")[1]
    )
    assert other["stage_calls"] == {**dict.fromkeys(other["stage_calls"], 0), "vits": 2}  # and nothing before it
    assert other["audio_seconds"] > first["audio_seconds"]
    run("say", "Hello there. How are you?", "--voice", "rms", "-o", "d.wav")
    assert Path("d.wav").read_bytes() != Path("a.wav").read_bytes()


def test_seeds_read_anew_and_steady_is_steady(run):
    for preset, same in (("fast", False), ("steady", True)):
        for seed in ("1", "2"):
            assert run("say", "Hello.", "--preset", preset, "--seed", seed, "-o", f"{preset}{seed}.wav")[0] == 0
        assert np.array_equal(*(soundfile.read(f"{preset}{seed}.wav")[0] for seed in ("1", "2"))) is same


def test_batch_plan_and_show_at_another_rate(run):
    Path("list.txt").write_text("Hello there. It is late.\nGood night.\n…\n")
    code, out, _ = run("plan", "list.txt", "--json", rate=22050)
    assert code == 0 and json.loads(out)["stages"]["vits"]["missing"] >= 3
    code, out, err = run("batch", "list.txt", "--out", "out", "--runner", "inline", "--json", rate=22050)
    report = json.loads(out.splitlines()[-1])
    assert (code, report["ok"], report["failed"]) == (3, 2, 1) and "nothing" in err
    assert soundfile.info("out/0001.wav").samplerate == 22050
    assert json.loads(run("plan", "list.txt", "--json", rate=22050)[1])["open_sentences"] == 0
    again = json.loads(
        run("batch", "list.txt", "--out", "out", "--runner", "inline", "--json", rate=22050)[1].splitlines()[-1]
    )
    assert again["kept"] == 2 and not any(again["stage_calls"].values())
    assert cli.main(["show", "out/0001.wav"]) == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--set", "vits.speed=0"], "vits: speed is 0; give 0.25 (slow) to 4 (fast)"),
        (["--set", "vits.speed=-3"], "vits: speed is -3"),
        (["--set", "vits.speaker=slr"], "unknown speaker 'slr' (did you mean 'slt'?); the speakers of"),
        (["--set", "vits.accent=uk"], "unknown accent 'uk'"),
        (["--set", "vits.language=de"], "unknown language 'de'"),
        (["--voice", "awb"], "this model speaks only as rms, slt; give one of them as --voice or"),
        (["--voice", "tone.wav"], "voice 'tone' is no speaker of"),
        (["--set", "vits.checkpoint=nowhere"], "nowhere: no checkpoint there"),
        (["--set", "vits.sped=1"], "unknown key 'sped'; did you mean 'speed'"),
        (["--preset", "stedy"], "unknown preset 'stedy'; did you mean 'steady'"),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(run, weights, capsys, argv, message):
    soundfile.write("tone.wav", np.sin(np.arange(32000) / 9.0) / 2, 16000)
    code = cli.main(["say", "hi", "--pipeline", "vits", "--set", f"vits.checkpoint={weights / '16000'}", *argv])
    err = capsys.readouterr().err.strip()
    assert code == 1 and err.startswith("caretta: ") and "\n" not in err and message in err
    assert not Path("artifacts").exists() or not any(Path("artifacts/cache").rglob("*.npz"))
    assert not Path("out.wav").exists()


def test_opus_is_refused_before_any_work_at_a_rate_that_it_has_not(run):
    code, _, err = run("say", "hi", "-o", "x.opus", rate=22050)
    assert code == 1 and "not 22050; use wav, flac or ogg" in err
    assert run("say", "hi", "-o", "x.opus")[0] == 0


def test_convert_writes_the_other_voice(run, capsys):
    soundfile.write("in.wav", np.random.default_rng(0).normal(0, 0.1, (24000, 2)), 24000)
    code, out, _ = run("convert", "in.wav", "--voice", "slt", "--from", "rms", "-o", "x.flac", "--json")
    report = json.loads(out)
    assert code == 0 and (report["from"], report["voice"], report["audio_seconds"]) == ("rms", "slt", 1.0)
    assert (soundfile.info("x.flac").samplerate, soundfile.info("x.flac").frames) == (16000, 16000)
    for argv, message in (
        (["in.wav", "--voice", "slt", "--from", "rmz"], "unknown speaker 'rmz'"),
        (["none.wav", "--voice", "slt", "--from", "rms"], "none.wav: cannot be read as sound"),
        (["in.wav", "--voice", "slt", "--from", "rms", "-o", "x.mp4"], "the ending says the format"),
    ):
        code, _, err = run("convert", *argv)
        assert code == 1 and err.startswith("caretta: ") and message in err and err.count("\n") == 1
    assert cli.main(["convert", "in.wav", "--voice", "slt", "--pipeline", "tortoise"]) == 1
    assert "route 'tortoise' has no stage 'vits'" in capsys.readouterr().err


def test_the_shipped_route_has_the_presets():
    shipped = read_yaml(ROUTES / "vits.yaml")
    assert shipped["preset"] == "fast" and list(shipped["presets"]) == PRESETS
    for preset in PRESETS:
        route = load_route("vits", preset)
        steady = (route.nodes[-1].config.noise_scale, route.nodes[-1].config.noise_scale_w) == (0.0, 0.0)
        assert steady == (preset == "steady")


def test_evaluation_refuses_systems_that_need_codes_and_strangers(weights):
    route = load_route("vits", sets=[f"vits.checkpoint={weights / '16000'}"])
    check_weights("pipeline", route, "")
    for system, message in (
        ("random", "route 'vits' has no stage that gives RankedCodes; leave that system out"),
        ("diffusion", "route 'vits' has no stage that gives Mel; leave that system out"),
        ("vocoder", "feeds stage 'vits' of route 'vits' with Mel, which it does not read; leave that system out"),
    ):
        with pytest.raises(ValueError, match=message):
            check_weights(system, route, "")
    config = EvaluateConfig(systems=("pipeline",), pipeline="vits")
    assert plans(config, route, (), [load_voice("rms"), load_voice("slt")])[0][0].chain
    with pytest.raises(ConfigError, match="voice 'awb' is no speaker of"):
        plans(config, route, (), [load_voice("rms"), load_voice("awb")])


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_the_flow_gives_the_same_sounds(weights, tmp_path, runner):
    """Slow: each starts the embedded server."""
    (tmp_path / "list.txt").write_text("Hello there. It is late.\nGood night.\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    for name in (runner, "inline"):
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "batch", "list.txt", "--pipeline", "vits", "--out", name, "--runner",
             name, "--set", f"vits.checkpoint={weights / '16000'}", "--set", f"cache.dir=cache-{name}"],
            cwd=tmp_path, check=False, capture_output=True, text=True, timeout=240,
            env=clean | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    for path in (tmp_path / "inline").glob("*.wav"):
        assert path.read_bytes() == (tmp_path / runner / path.name).read_bytes()
