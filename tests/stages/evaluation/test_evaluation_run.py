"""The whole evaluation over fake stages and a fake recogniser: every system, honest counts, bad input."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from stages.core.config import ConfigError
from stages.core.route import load_route
from stages.core.types import RankedCodes
from stages.evaluation import bench as benches
from stages.evaluation import chain, systems
from stages.evaluation.bench import Bench
from stages.evaluation.intelligibility import error_rates
from stages.evaluation.run import evaluate, prepare, read_config
from stages.evaluation.speed import StageSpeed, peak_memory, total_rtf
from stages.evaluation.systems import references


def rows(report):
    return {row.system: row for row in report.rows}


def test_teacher_and_pipeline(config, world):
    report = evaluate(prepare(config))
    found = rows(report)
    assert list(found) == ["teacher", "pipeline"] and report.missing == 0
    assert found["teacher"].mean("mcd") is None and found["pipeline"].mean("mcd") > 0
    assert found["teacher"].missing("mcd") == {"no reference sound": 4}
    assert total_rtf(found["pipeline"].speeds) > 0 and found["teacher"].speeds == []
    written = json.loads((world / "artifacts/reports/small/report.json").read_text())
    assert [s["coverage"] for s in written["systems"]] == [1.0, 1.0]
    assert written["details"][1]["items"][2]["reference"] == "b one b more"
    assert written["comparisons"][0]["ours"] == "pipeline" and json.loads(report.line())["missing"] == 0
    assert evaluate(prepare(config)).table().splitlines()[4].endswith("cached")  # nothing ran: no speed is claimed


def test_every_system(config, tokenizer):
    config.write_text(config.read_text().replace("[teacher, pipeline]", f"[{', '.join(systems.SYSTEMS)}]"))
    report = evaluate(prepare(config, [f"codes={tokenizer}"]))
    found = rows(report)
    assert report.missing == 0 and set(found) == set(systems.SYSTEMS)
    assert found["codes"].measured("mel_l1") == 4 and found["random"].measured("mel_l1") == 0
    assert error_rates(found["oracle"].counts)[0] <= error_rates(found["pipeline"].counts)[0]
    assert error_rates(found["oracle"].counts)[0] <= error_rates(found["random"].counts)[0]
    (compared,) = [c for c in report.comparisons() if (c.ours, c.theirs) == ("codes", "vocoder")]
    mcd = compared.measures["mcd"]
    assert "mel_l1" not in compared.measures and mcd.low <= mcd.value <= mcd.high and mcd.items == 4
    again = evaluate(prepare(config, [f"codes={tokenizer}"]))
    assert [r.summary()["wer"] for r in again.rows] == [r.summary()["wer"] for r in report.rows]


def test_random_pick_is_seeded_and_the_rerankers_own_pick_is_the_chains_result(config, world):
    job = prepare(config, ["seed=3"])
    bench = Bench(job.sentences, job.voices[0], job.route, job.store, job.recogniser, 3)
    spoken, first, second = chain.chain(bench), chain.random_pick(bench), chain.random_pick(bench)
    same = [
        a.audio.samples.tobytes() == b.audio.samples.tobytes() for a, b in zip(first.clips, spoken.clips, strict=True)
    ]
    assert not all(same)
    assert all(np.array_equal(a.audio.samples, b.audio.samples) for a, b in zip(first.clips, second.clips, strict=True))
    pipeline = bench.pipeline()
    (unit,) = pipeline.document(job.sentences[0].text, bench.voice, 3).units
    ranked = job.store.get(RankedCodes, unit.steps[2].keys[0])
    assert chain.repicked(pipeline, bench, unit, ranked.chosen) is unit
    other = chain.repicked(pipeline, bench, unit, (ranked.chosen + 1) % 6)
    assert other.key != unit.key and other.steps[:2] == unit.steps[:2]


def test_item_that_fails_is_all_wrong_and_counted(config, world):
    (world / "s.txt").write_text("Hello there.\nPlease do it.")
    job = prepare(config)
    broken = dataclasses.replace(job.sentences[1], text="Please explode.")
    report = evaluate(dataclasses.replace(job, sentences=(job.sentences[0], broken)))
    row = rows(report)["pipeline"]
    assert (row.spoken, report.missing) == (1, 1) and row.items[1].wer == 1.0
    assert "boom" in row.items[1].error and row.measured("mcd") == 1 and row.missing("mcd") == {"no sound": 1}
    assert report.table().startswith("coverage: 3 of 4 sentences spoken")
    assert "1/2" in report.table() and "(1/2)" in report.table()


def test_presets_side_by_side_are_paired_with_the_baseline(config):
    pair = "systems=[pipeline, {name: few, preset: ultra_fast}, {name: same, sets: [rerank.batch=7]}]"
    with pytest.raises(ConfigError, match="unknown key 'batch'"):
        prepare(config, [pair])
    report = evaluate(prepare(config, [pair.replace("rerank.batch=7", "diffusion.steps=6")]))
    found = {c.ours: c for c in report.comparisons()}
    assert set(found) == {"few", "same"} and {c.theirs for c in found.values()} == {"pipeline"}
    same = found["same"].wer
    assert (same.value, same.low, same.high, same.verdict) == (0.0, 0.0, 0.0, "no difference")
    assert report.blame() == [] and rows(report)["few"].clips[0].audio is not None
    assert evaluate(
        prepare(config, [pair.replace("rerank.batch=7", "diffusion.steps=6"), "baseline=few"])
    ).baseline == ("few")


def test_matrix_runs_what_it_can_and_names_what_it_cannot(config, world):
    (world / "routes" / "broken.yaml").write_text((world / "routes" / "tortoise.yaml").read_text() + "texd: {}\n")
    config.write_text(config.read_text() + "matrix: {}\nsummary: kept/compare.json\n")
    report = evaluate(prepare(config, ["systems=[teacher]"]))
    assert [row.system for row in report.rows] == ["teacher", "tortoise/ultra_fast", "tortoise/fast"]
    assert [f.name for f in report.failed] == ["broken/ultra_fast", "broken/fast"]
    assert "texd" in report.failed[0].reason and "failed: broken/fast:" in report.coverage()
    kept = json.loads((world / "kept/compare.json").read_text())
    assert list(kept["failed"]) == ["broken/ultra_fast", "broken/fast"] and len(kept["systems"]) == 3
    assert kept["command"].startswith("caretta evaluate") and "details" not in kept
    table = report.markdown().splitlines()
    assert table[1] == "|" + "---|" * (table[0].count("|") - 1) and {line.count("|") for line in table[:7]} == {
        table[0].count("|")
    }
    (world / "s.txt").write_text("Please do it.")
    job = prepare(config, ["systems=[teacher]", "matrix={pipelines: [tortoise], presets: [fast]}"])
    job = dataclasses.replace(job, sentences=(dataclasses.replace(job.sentences[0], text="Please explode."),))
    report = evaluate(job)
    assert [row.system for row in report.rows] == ["teacher"] and "no sentence was spoken" in report.failed[0].reason
    with pytest.raises(
        ConfigError, match="reference is 'teachr', which is not among the systems; did you mean 'teacher'"
    ):
        prepare(config, ["systems=[teacher]", "reference=teachr"])
    with pytest.raises(ConfigError, match="no system can run; the first, broken/fast"):
        prepare(config, ["systems=[]", "matrix={pipelines: [broken], presets: [fast]}"])


def test_references_are_what_the_text_stage_says(world):
    found = references(load_route(), ["How ARE you? Well, fine.", "?!"])
    assert found[0][0] == "how are you well fine" and found[0][1] and found[1] == ("", ())


def test_bad_inputs_have_one_sentence(config, world):
    for sets, message in (
        (["sentences=none.txt"], "none.txt: no such file of sentences"),
        (["sentences="], "sentences is not set|expected str"),
        (["systems=[pipelin]"], "unknown system 'pipelin'; did you mean 'pipeline'"),
        (["systems=[]"], "systems is empty"),
        (["systems=[7]"], "expected a name or a mapping, got 7"),
        (["systems=[{preset: fast}]"], "has no name"),
        (["systems=[{name: a, presett: fast}]"], "unknown key 'presett'; did you mean 'preset'"),
        (["systems=[{name: a, folder: x, preset: fast}]"], "names both a folder and how to speak"),
        (["systems=[{name: a, folder: x, match: ordr}]"], "match is 'ordr'; did you mean 'order'"),
        (["systems=[{name: a, folder: nowhere}]"], "nowhere: cannot be read as a folder"),
        (["baseline=pipelin"], "baseline is 'pipelin', which is not among the systems; did you mean 'pipeline'"),
        (["measures=[mdc]"], "unknown measure 'mdc'; did you mean 'mcd'"),
        (["audio=file"], "audio is 'file'; did you mean 'files'"),
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
    (world / "s.txt").write_text("Fine.\n?!\n")
    with pytest.raises(ConfigError, match="nothing in '\\?!' \\(line 2\\) can be spoken"):
        prepare(config)


def test_measure_without_its_model_fails_by_name_before_any_work(config, monkeypatch):
    from stages.evaluation import measures

    def missing(config):
        raise ConfigError("needs the model of nothing, which is not installed")

    def never(case):
        raise AssertionError("it has no model")

    broken = measures.Measure((measures.Column("ghost", "ghost"),), never, missing)
    monkeypatch.setitem(measures.MEASURES, "ghost", broken)
    with pytest.raises(ConfigError, match="measure 'ghost': needs the model of nothing"):
        prepare(config, ["measures=[mcd, ghost]"])


def test_scores_are_numbers_or_reasons(config, monkeypatch):
    from stages.evaluation import measures

    with pytest.raises(ValueError, match="needs a reason"):
        measures.Score(None)
    with pytest.raises(ValueError, match="must be a finite number"):
        measures.Score(float("nan"))
    short = measures.Measure((measures.Column("short", "short"),), lambda case: {"short": [measures.Score(1.0)]})
    monkeypatch.setitem(measures.MEASURES, "short", short)
    with pytest.raises(ValueError, match="measure 'short' gave 1 scores of short, not 4"):
        evaluate(prepare(config, ["measures=[short]"]))


def test_sets_go_to_the_evaluation_or_to_the_route(config):
    found = read_config(config, ["limit=2", "diffusion.steps=9", "cache.dir=elsewhere"])
    assert found.limit == 2 and found.sets == ("diffusion.steps=9", "cache.dir=elsewhere")
    job = prepare(config, ["limit=2", "diffusion.steps=9", "cache.dir=elsewhere"])
    assert len(job.sentences) == 2 and job.route.nodes[3].config.steps == 9 and job.store.where == "elsewhere"
    assert job.command.endswith("--set limit=2 --set diffusion.steps=9 --set cache.dir=elsewhere")


def test_progress_and_steps_are_told(config):
    told, steps = {}, []

    def step(name, work):
        steps.append(name)
        return work()

    evaluate(prepare(config), step, lambda what, done, wanted: told.update({what: (done, wanted)}))
    assert steps == [f"{what} rms/{s}" for s in ("teacher", "pipeline") for what in ("speak", "listen", "measure")]
    assert told["measure rms/pipeline"] == (4, 4) == told["listen rms/teacher"] and told["speak rms/pipeline"][0] >= 4


def test_diversity_is_over_seeds_of_what_speaks_by_a_route(config, monkeypatch):
    from stages.evaluation import seeds
    from stages.evaluation.diversity import Diversity
    from stages.evaluation.levels import NotMeasurable

    with pytest.raises(ConfigError, match="seeds is 1; one reading has no diversity"):
        prepare(config, ["seeds=1"])
    given = []

    def differ(clips, spec):
        given.append([clip.samples.tobytes() for clip in clips])
        if len(given) == 1:
            raise NotMeasurable("seed 0 of 3: no sound")
        return Diversity(len(clips), 2.0, 0.1, None, 3)

    monkeypatch.setattr(seeds, "diversity", differ)
    found = rows(evaluate(prepare(config, ["seeds=3"])))
    assert len(given) == 4 and all(len(set(clips)) > 1 for clips in given) and found["teacher"].whole == {}
    whole = found["pipeline"].whole
    assert whole["diversity_mcd"].value == 2.0 and whole["diversity_pitch"].reason == "seed 0 of 3: no sound"


def test_speed_of_what_was_cached_is_unknown():
    assert StageSpeed("a", 0.0, 0.0).rtf is None and StageSpeed("a", 1.0, 4.0).rtf == 0.25
    assert total_rtf([StageSpeed("a", 1.0, 4.0), StageSpeed("b", 0.0, 0.0)]) is None and total_rtf([]) is None
    assert peak_memory() > 1e6


def test_speed_alone_times_everything_but_the_first(world):
    from stages.evaluation.alone import speak

    request = {"pipeline": "tortoise", "preset": "fast", "sets": [], "voice": "rms", "seed": 0}
    found = speak(request | {"texts": ["Hello there.", "How are you?", "Fine."]})
    assert found.sentences == 2 and found.rtf > 0 < found.cpu_rtf and set(found.rtf_by_stage) >= {"text", "vocoder"}
    assert speak(request | {"texts": ["Hello there."]}).sentences == 1
    with pytest.raises(ConfigError, match="a sentence got no sound"):
        speak(request | {"texts": ["Hello there.", "Please explode."]})


def test_speed_alone_tells_what_the_process_said(world):
    from stages.evaluation.alone import measure_alone

    with pytest.raises(ConfigError, match="speed of nowhere/fast: unknown pipeline 'nowhere'"):
        measure_alone("nowhere", "fast", [], "rms", ["Hello."], 0)


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_teacher_is_flite_and_an_unknown_voice_is_refused(tmp_path):
    from stages.core.artifacts import MemoryStore

    store = MemoryStore()
    (clip,) = benches.render_teacher(["Hello there."], "rms", store)
    assert 0.5 < clip.audio.samples.size / clip.audio.sample_rate < 3 and clip.phones[-1][0] == "pau"
    (again,) = benches.render_teacher(["Hello there."], "rms", store)
    assert np.array_equal(again.audio.samples, clip.audio.samples) and again.phones == clip.phones
    with pytest.raises(ConfigError, match=r"voice 'rmss' has no teacher.*did you mean 'rms'"):
        benches.check_teacher("rmss")
