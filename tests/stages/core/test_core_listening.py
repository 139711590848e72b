"""Routes with judges of the sound: every candidate is rendered once, the best heard is taken, retries ask for more."""

import functools

import numpy as np
import pytest
from fakestages.listen.stage import ListenStage

from flows.shards import Work
from stages.core import execute, route
from stages.core.artifacts import ArtifactStore, MemoryStore, entry_name
from stages.core.config import ConfigError
from stages.core.lineage import told
from stages.core.pipeline import Pipeline
from stages.core.route import load_route
from stages.core.types import Audio, Choice
from stages.core.units import choice_key, with_more
from stages.core.voices import load_voice

TEXTS = ["Hello there.", "How are you? I am well.", "One paragraph.\n\nAnother one."]
SENTENCES = 5
LISTEN = "rerank.judges={asr: 50, log_prob: 0.01}"


@pytest.fixture
def store(world, monkeypatch):
    monkeypatch.setitem(route.STAGES, "rerank", "fakestages.judged.stage:JudgedStage")
    monkeypatch.setitem(route.STAGES, "listen", "fakestages.listen.stage:ListenStage")
    return ArtifactStore(world / "cache")


def pipeline(sets=(LISTEN,), candidates=4):
    return Pipeline(load_route("tortoise", None, [*sets, f"autoregressive.candidates={candidates}"]))


def run(store, texts=TEXTS, sets=(LISTEN,), candidates=4, seed=0):
    made = pipeline(sets, candidates)
    return made.run(texts, load_voice("rms"), seed, store), made.report


def samples(results):
    return [r.audio.samples.tobytes() if r.audio else None for r in results]


def wrong(audio):
    return ListenStage().one(audio).measures["wer"]


def test_the_stages_that_listen_are_added_and_the_others_keep_their_keys(store):
    listening, plain = pipeline().route, pipeline(()).route
    assert [n.spec.name for n in listening.nodes] == [*(n.spec.name for n in plain.nodes), "listen", "choose"]
    assert list(listening.takes) == [3, 4, 5] and not plain.takes
    one, two = pipeline().unit("Hi.", "0" * 64, 0), pipeline(()).unit("Hi.", "0" * 64, 0)
    assert one.steps[:2] == two.steps[:2] and [len(s.keys) for s in one.steps] == [1, 4, 1, 4, 4, 4, 1]
    again = load_route("tortoise", None, [LISTEN])
    assert "listen" not in again.plain()["stages"] and again.plain()["rerank"]["judges"] == {
        "log_prob": 0.01,
        "asr": 50,
    }


def test_the_best_heard_candidate_is_taken(store):
    (result,), report = run(store, ["Hello there."])
    assert report.stage_calls == {
        "text": 1, "autoregressive": 4, "rerank": 1, "diffusion": 4, "vocoder": 4, "listen": 4, "choose": 1,
    }  # fmt: skip
    made = pipeline()
    takes = [made.document("Hello there.", load_voice("rms"), 0, picks={0: k}) for k in range(4)]
    sounds = [made.result(take, store).audio for take in takes]
    assert made.report.stage_calls["diffusion"] == made.report.stage_calls["listen"] == 0  # they were all rendered
    assert wrong(result.audio) == min(map(wrong, sounds)) < max(map(wrong, sounds))
    (record,) = result.sentences
    assert np.array_equal(sounds[record["chosen"]].samples, result.audio.samples)
    assert set(record["scores"]) == {"log_prob", "asr", "total"} and len(record["scores"]["asr"]) == 4
    assert record["heard"] == f"{round(10 * wrong(result.audio))} wrong" and record["threshold_met"] is None


def test_second_run_computes_nothing_and_gives_the_same(store):
    first, report = run(store)
    again, second = run(store)
    assert set(second.stage_calls.values()) == {0} and second.cache_hits == report.stage_calls
    assert samples(first) == samples(again) and [r.sentences for r in first] == [r.sentences for r in again]


def test_one_batch_equals_many_alone(store, world):
    together, _ = run(store)
    for order, text in enumerate(TEXTS):
        assert samples(run(MemoryStore(), [text])[0]) == samples([together[order]])
    assert samples(run(None, TEXTS[::-1], [LISTEN, "shard=1"])[0]) == samples(together)[::-1]


def test_other_weights_render_and_hear_nothing_again(store):
    run(store)
    _, report = run(store, sets=["rerank.judges={asr: 1, log_prob: 7}"])
    done = {name: calls for name, calls in report.stage_calls.items() if calls}
    assert done == {"rerank": SENTENCES, "choose": SENTENCES}
    _, report = run(store, sets=["rerank.judges={asr: 1, log_prob: 7}", "rerank.accept.asr=1.0"])
    assert {name for name, calls in report.stage_calls.items() if calls} == {"choose"}


def test_more_candidates_render_only_the_new_ones(store):
    run(store, candidates=4)
    more, report = run(store, candidates=8)
    for stage in ("autoregressive", "diffusion", "vocoder", "listen"):
        assert report.stage_calls[stage] == report.cache_hits[stage] == 4 * SENTENCES
    assert samples(more) == samples(run(None, candidates=8)[0])


def test_a_threshold_that_is_met_asks_for_nothing_more(store):
    (result,), report = run(store, ["Hello there."], ["rerank.judges=[asr]", "rerank.accept.asr=1", "rerank.retries=3"])
    assert report.stage_calls["diffusion"] == 4 and result.faults in ([], ["loop"])
    assert result.sentences[0]["threshold_met"] is True and result.sentences[0]["retries"] == 0


def unlucky(retries):
    """Sets by which no candidate is ever good enough: fakes of a tenth of a second are far too short."""
    return ["rerank.judges=[asr, duration]", "rerank.accept.duration=0", f"rerank.retries={retries}"]


def test_retries_are_as_more_candidates_and_are_told(store, monkeypatch):
    (result,), report = run(store, ["Hello there."], unlucky(2))
    for stage in ("autoregressive", "diffusion", "vocoder", "listen"):
        assert report.stage_calls[stage] == 12
    assert report.stage_calls["text"] == report.stage_calls["choose"] == 1 and report.cache_hits["text"] == 0
    assert "below_threshold" in result.faults
    (record,) = result.sentences
    assert record["retries"] == 2 and record["threshold_met"] is False and len(record["scores"]["asr"]) == 12
    assert [len(record["stages"][s]["keys"]) for s in ("autoregressive", "diffusion", "choose")] == [12, 12, 1]
    assert any("threshold not met, the best there was is taken after 2 retries" in line for line in told(record))
    (wide,), report = run(store, ["Hello there."], unlucky(0), candidates=12)
    assert samples([wide]) == samples([result])
    assert {name for name, calls in report.stage_calls.items() if calls} == {"choose"}
    (again,), report = run(store, ["Hello there."], unlucky(2))
    assert set(report.stage_calls.values()) == {0} and samples([again]) == samples([result])


def test_only_sentences_below_the_threshold_are_tried_again(store):
    sets = ["rerank.judges=[asr]", "rerank.accept.asr=0.1", "rerank.retries=4"]
    results, report = run(store, sets=sets, candidates=2)
    records = [record for result in results for record in result.sentences]
    assert len({record["retries"] for record in records}) > 1
    for record in records:
        heard = [(1 - score) / 1.05 for score in record["scores"]["asr"]]
        before = heard[: 2 * record["retries"]]
        assert all(wer > 0.1 for wer in before)  # none of an earlier round would have done
        assert (min(heard) <= 0.11) == record["threshold_met"] == ("below_threshold" not in record["faults"])
        assert record["threshold_met"] or record["retries"] == 4
    assert report.stage_calls["diffusion"] == sum(2 * (1 + record["retries"]) for record in records)
    assert samples(results) == samples(run(None, TEXTS[::-1], [*sets, "shard=2"], candidates=2)[0])[::-1]


def test_candidates_of_retries_can_be_picked(store):
    made = pipeline(unlucky(1))
    document = made.document("Hello there.", load_voice("rms"), 0, picks={0: 6})
    result = made.result(document, store)
    assert result.sentences[0]["chosen"] == 6 and len(result.sentences[0]["scores"]["asr"]) == 8
    take = with_more(made.route, made.unit("Hello there.", document.voice.digest, 0)).steps[4].keys[6]
    assert np.array_equal(store.get(Audio, take).samples, result.audio.samples)
    with pytest.raises(ConfigError, match=r"no candidate 8: 8 are sampled"):
        made.document("Hello there.", load_voice("rms"), 0, picks={0: 8})


@pytest.mark.parametrize("damaged", range(1, 7))
def test_damaged_entries_heal(store, damaged):
    first, _ = run(store, ["Hello there."], unlucky(1))
    unit = pipeline(unlucky(1)).document("Hello there.", load_voice("rms"), 0).units[0]
    path = store.local_folder / entry_name(unit.steps[damaged].keys[-1])
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    for step in unit.steps[damaged + 1 :]:  # what is damaged is noticed when it is needed
        for key in step.keys:
            (store.local_folder / entry_name(key)).unlink()
    again, _ = run(store, ["Hello there."], unlucky(1))
    assert samples(first) == samples(again)


def test_sound_without_its_choice_never_lies_about_the_candidate(store):
    run(store, ["Hello there."])
    unit = pipeline().document("Hello there.", load_voice("rms"), 0).units[0]
    assert store.get(Choice, choice_key(unit.key)).chosen in range(4)
    (store.local_folder / entry_name(choice_key(unit.key))).unlink()
    fresh = MemoryStore()
    for key in store.keys():  # another store, without the lineage record
        entry = store.read(key)
        if entry[1].get("type") != "Lineage":
            fresh.write(key, *entry)
    (result,), report = run(fresh, ["Hello there."])
    assert set(report.stage_calls.values()) == {0}
    assert result.sentences[0]["chosen"] is None and result.sentences[0]["scores"] == {}


def test_a_sentence_that_fails_in_one_take_does_not_stop_the_others(store, monkeypatch):
    from fakestages.vocoder.stage import VocoderStage

    usual = VocoderStage.run

    def broken(self, batch, *, seeds):
        if any(len(list(item.values())[0].frames) == 3 * len("Hithere") + 6 for item in batch):
            raise RuntimeError("cannot")
        return usual(self, batch, seeds=seeds)

    monkeypatch.setattr(VocoderStage, "run", broken)
    good, bad = run(store, ["Hello you.", "Hi there."], unlucky(1))[0]
    assert good.audio is not None and bad.audio is None and "vocoder: cannot" in bad.error


def test_a_batch_never_exceeds_what_the_stage_takes(store, monkeypatch):
    sizes = []
    usual = ListenStage.run

    def noted(self, batch, *, seeds):
        sizes.append(len(batch))
        return usual(self, batch, seeds=seeds)

    monkeypatch.setattr(ListenStage, "run", noted)
    run(store, TEXTS, candidates=20)
    assert max(sizes) == 16 and sum(sizes) == 20 * SENTENCES


class Here:
    """Devices of a task that is run where it is."""

    def run(self, kind, memory_gb, call, *args):
        return call(*args, "cpu")


def test_tasks_of_a_flow_give_the_same(store):
    """Stage by stage, as the Prefect flow sends a shard."""
    made = pipeline(unlucky(1))
    documents = [made.document(text, load_voice("rms"), 0) for text in TEXTS]
    units = made.open_units(documents, store)
    execute.keep_voices(documents, {u.key for u in units}, store)
    for index in range(len(made.route.nodes)):
        made.report.add(Work(made.route, index, units, store, {}, Here()).run())
    other = pipeline(unlucky(1))
    expected = other.run(TEXTS, load_voice("rms"), 0, MemoryStore())
    assert made.report.stage_calls == other.report.stage_calls
    assert samples(made.results(documents, store)) == samples(expected)


def test_two_runs_that_share_a_store_share_the_takes(store):
    """Two threads at once: together they compute what one would, and give the same."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(functools.partial(run, store, sets=unlucky(1))) for _ in range(2)]
        (one, first), (two, second) = [job.result() for job in jobs]
    assert samples(one) == samples(two) == samples(run(None, sets=unlucky(1))[0])
    for stage in ("autoregressive", "diffusion", "vocoder", "listen"):
        assert first.stage_calls[stage] + second.stage_calls[stage] == 8 * SENTENCES


def test_followers_are_not_named_in_a_route(store, world):
    (world / "routes" / "mine.yaml").write_text("stages: [text, listen]\npreset: a\npresets: {a: {}}\n")
    with pytest.raises(ConfigError, match=r"'listen' is not named here; judges that listen \(rerank.judges\) add it"):
        load_route("mine")


def test_the_evaluation_compares_with_what_was_chosen(store):
    from types import SimpleNamespace

    from stages.evaluation.chain import node_of, repicked

    (result,), _ = run(store, ["Hello there."])
    made, bench = pipeline(), SimpleNamespace(store=store, seed=0)
    unit = made.document("Hello there.", load_voice("rms"), 0).units[0]
    chosen = result.sentences[0]["chosen"]
    assert node_of(made.route, Audio).spec.name == "vocoder"
    assert repicked(made, bench, unit, chosen) is unit
    assert {repicked(made, bench, unit, k).pick for k in range(4) if k != chosen} == set(range(4)) - {chosen}
