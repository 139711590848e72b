"""The whole evaluation over fake stages and a fake recogniser: every system, honest counts, the report."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from stages.core.config import ConfigError
from stages.core.route import load_route
from stages.core.types import Audio
from stages.evaluation import systems
from stages.evaluation.intelligibility import error_rates
from stages.evaluation.report import page
from stages.evaluation.run import evaluate, prepare, read_config, read_sentences
from stages.evaluation.speed import StageSpeed, peak_memory, total_rtf
from stages.evaluation.systems import Bench, Clip, references

TEXTS = ["Hello there.", "How are you? I am well.", "<b>One</b> & more.", "Another line."]


@pytest.fixture
def config(world, monkeypatch, speech):
    """Writes a configuration over TEXTS; gives its path. The teacher is a generated sound."""
    (world / "s.txt").write_text("\n".join(TEXTS))
    path = world / "small.yaml"
    path.write_text("sentences: s.txt\nrecogniser: fake\nworkers: 1\ndraws: 200\nsystems: [teacher, pipeline]\n")

    def render(texts, voice, store, workers=1):
        return [Clip(Audio(speech[: 3000 + 500 * n], 16000)) for n, _ in enumerate(texts)]

    monkeypatch.setattr(systems, "render_teacher", render)
    monkeypatch.setattr("stages.evaluation.run.check_teacher", lambda voice: None)
    return path


@pytest.fixture
def tokenizer(world):
    """A tiny untrained tokenizer's checkpoint."""
    import torch

    from stages.codes.model import CodesModelConfig, SpeechTokenizer
    from stages.core import checkpoint

    torch.manual_seed(0)
    small = CodesModelConfig(width=16, depth=1, voice_width=8)
    checkpoint.write(world / "codes", SpeechTokenizer(small).state_dict(), small, {"stage": "codes"})
    return world / "codes"


def rows(report):
    return {row.system: row for row in report.rows}


def test_teacher_and_pipeline(config, world):
    report = evaluate(prepare(config))
    found = rows(report)
    assert list(found) == ["teacher", "pipeline"] and report.missing == 0
    assert found["teacher"].mean("mcd") is None and found["pipeline"].mean("mcd") > 0
    assert total_rtf(found["pipeline"].speeds) > 0 and found["teacher"].speeds == []
    written = json.loads((world / "artifacts/reports/small/report.json").read_text())
    assert [s["coverage"] for s in written["systems"]] == [1.0, 1.0]
    assert written["details"][1]["items"][2]["reference"] == "b one b more"
    assert written["comparisons"][0]["ours"] == "pipeline" and json.loads(report.line())["missing"] == 0
    assert evaluate(prepare(config)).table().splitlines()[2].endswith("cached")  # nothing ran: no speed is claimed


def test_every_system(config, tokenizer):
    config.write_text(config.read_text().replace("[teacher, pipeline]", f"[{', '.join(systems.SYSTEMS)}]"))
    report = evaluate(prepare(config, [f"codes={tokenizer}"]))
    found = rows(report)
    assert report.missing == 0 and set(found) == set(systems.SYSTEMS)
    assert found["codes"].measured("mel_l1") == 4 and found["random"].measured("mel_l1") == 0
    assert error_rates(found["oracle"].counts)[0] <= error_rates(found["pipeline"].counts)[0]
    (compared,) = [c for c in report.comparisons() if (c["ours"], c["theirs"]) == ("codes", "vocoder")]
    assert (
        compared["mel_l1"] is None
        and compared["mcd"]["low"] <= compared["mcd"]["difference"] <= compared["mcd"]["high"]
    )
    assert error_rates(found["oracle"].counts)[0] <= error_rates(found["random"].counts)[0]
    again = evaluate(prepare(config, [f"codes={tokenizer}"]))
    assert [r.summary()["wer"] for r in again.rows] == [r.summary()["wer"] for r in report.rows]


def test_random_pick_is_seeded_and_the_rerankers_own_pick_is_the_chains_result(config, world):
    job = prepare(config, ["seed=3"])
    bench = Bench(job.sentences, job.voices[0], job.route, job.store, job.recogniser, 3)
    chain, first, second = systems.chain(bench), systems.random_pick(bench), systems.random_pick(bench)
    same = [
        a.audio.samples.tobytes() == b.audio.samples.tobytes() for a, b in zip(first.clips, chain.clips, strict=True)
    ]
    assert not all(same)
    assert all(np.array_equal(a.audio.samples, b.audio.samples) for a, b in zip(first.clips, second.clips, strict=True))
    pipeline = bench.pipeline()
    (unit,) = pipeline.document(TEXTS[0], bench.voice, 3).units
    ranked = job.store.get(systems.RankedCodes, unit.steps[2].keys[0])
    assert systems.repicked(pipeline, bench, unit, ranked.chosen) is unit
    other = systems.repicked(pipeline, bench, unit, (ranked.chosen + 1) % 6)
    assert other.key != unit.key and other.steps[:2] == unit.steps[:2]


def test_item_that_fails_is_all_wrong_and_counted(config, world):
    (world / "s.txt").write_text("Hello there.\nPlease do it.")
    job = prepare(config)
    broken = dataclasses.replace(job.sentences[1], text="Please explode.")
    report = evaluate(dataclasses.replace(job, sentences=(job.sentences[0], broken)))
    row = rows(report)["pipeline"]
    assert (row.spoken, report.missing) == (1, 1) and row.items[1].wer == 1.0 and row.items[1].mcd is None
    assert "boom" in row.items[1].error and row.measured("mcd") == 1
    assert "1/2" in report.table() and "(1/2)" in report.table()


def test_page_escapes_every_text(config):
    report = evaluate(prepare(config))
    row = report.rows[1]
    evil = dataclasses.replace(row.items[0], heard="<script>alert(1)</script>", error="a & <b>")
    report.rows[1] = dataclasses.replace(row, items=[evil, *row.items[1:]])
    text = page(report)
    assert "<script" not in text and "&lt;script&gt;" in text and "a &amp; &lt;b&gt;" in text
    assert "http" not in text and "src=" not in text


def test_references_are_what_the_text_stage_says(world):
    assert references(load_route(), ["How ARE you? Well, fine.", "?!"]) == ["how are you well fine", ""]


def test_bad_inputs_have_one_sentence(config, world):
    for sets, message in (
        (["sentences=none.txt"], "none.txt: no such file of sentences"),
        (["sentences="], "sentences is not set|expected str"),
        (["systems=[pipelin]"], "unknown system 'pipelin'; did you mean 'pipeline'"),
        (["systems=[]"], "systems is empty"),
        (["recogniser=fak"], "unknown recogniser 'fak'; did you mean 'fake'"),
        (["limti=3"], "unknown key 'limti'; did you mean 'limit'"),
        (["diffusion.stepz=3"], "unknown key 'stepz'; did you mean 'steps'"),
        (["voices=[rmz]"], "unknown voice 'rmz'"),
        (["preset=fats"], "unknown preset 'fats'; did you mean 'fast'"),
        (["workers=0"], "workers is 0"),
        (["systems=[codes]", "codes=nowhere"], "nowhere: no checkpoint there"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(config, sets)
    (world / "s.txt").write_text(" \n\n")
    with pytest.raises(ConfigError, match="holds no sentences"):
        prepare(config)
    (world / "s.txt").write_text("Fine.\n?!\n")
    with pytest.raises(ConfigError, match="nothing in '\\?!' can be spoken"):
        prepare(config)
    (world / "s.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_sentences(str(world / "s.txt"))


def test_sets_go_to_the_evaluation_or_to_the_route(config):
    found = read_config(config, ["limit=2", "diffusion.steps=9", "cache.dir=elsewhere"])
    assert found.limit == 2 and found.sets == ("diffusion.steps=9", "cache.dir=elsewhere")
    job = prepare(config, ["limit=2", "diffusion.steps=9", "cache.dir=elsewhere"])
    assert len(job.sentences) == 2 and job.route.nodes[3].config.steps == 9 and job.store.where == "elsewhere"


def test_speed_of_what_was_cached_is_unknown():
    assert StageSpeed("a", 0.0, 0.0).rtf is None and StageSpeed("a", 1.0, 4.0).rtf == 0.25
    assert total_rtf([StageSpeed("a", 1.0, 4.0), StageSpeed("b", 0.0, 0.0)]) is None and total_rtf([]) is None
    assert peak_memory() > 1e6


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_teacher_is_flite_and_an_unknown_voice_is_refused(tmp_path):
    from stages.core.artifacts import MemoryStore

    store = MemoryStore()
    (clip,) = systems.render_teacher(["Hello there."], "rms", store)
    assert 0.5 < clip.audio.samples.size / clip.audio.sample_rate < 3 and len(list(store.keys())) == 1
    with pytest.raises(ConfigError, match=r"voice 'rmss' has no teacher.*did you mean 'rms'"):
        systems.check_teacher("rmss")
