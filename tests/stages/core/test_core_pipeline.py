"""Keys, resuming, seeds and faults of the pipeline, over fake stages."""

import numpy as np
import pytest

from stages.core import execute as module
from stages.core.artifacts import ArtifactStore, StoreError, entry_name
from stages.core.pipeline import Pipeline
from stages.core.route import load_route
from stages.core.voices import load_voice

TEXTS = ["Hello there.", "How are you? I am well.", "One paragraph.\n\nAnother one."]


def run(store, texts=TEXTS, seed=0, voice="rms", sets=(), preset=None):
    pipeline = Pipeline(load_route("tortoise", preset, list(sets)))
    return pipeline.run(texts, load_voice(voice), seed, store), pipeline.report


@pytest.fixture
def store(world):
    return ArtifactStore(world / "cache")


def samples(results):
    return [r.audio.samples.tobytes() if r.audio else None for r in results]


def test_second_run_computes_nothing_and_gives_the_same(store):
    first, report = run(store)
    assert report.stage_calls == {"text": 5, "autoregressive": 30, "rerank": 5, "diffusion": 5, "vocoder": 5}
    again, second = run(store)
    assert set(second.stage_calls.values()) == {0} and second.cache_hits == report.stage_calls
    assert samples(first) == samples(again) and [r.sentences for r in first] == [r.sentences for r in again]


def test_one_batch_equals_many_alone(store, world):
    together, _ = run(store)
    for order, text in enumerate(TEXTS):
        (alone,), _ = run(ArtifactStore(world / f"other{order}"), [text])
        assert samples([alone]) == samples([together[order]])
    assert samples(run(None, TEXTS[::-1], sets=["shard=1"])[0]) == samples(together)[::-1]


def test_seed_and_voice_change_the_sound(store):
    base, _ = run(store)
    other_seed, report = run(store, seed=1)
    assert all(a != b for a, b in zip(samples(base), samples(other_seed), strict=True))
    assert report.stage_calls["text"] == 0  # nothing is drawn there
    other_voice, _ = run(store, voice="slt")
    assert all(a != b for a, b in zip(samples(base), samples(other_voice), strict=True))


def test_more_candidates_sample_only_the_new_ones(store):
    _, first = run(store, ["Hello there."], sets=["autoregressive.candidates=8"])
    (result,), second = run(store, ["Hello there."], sets=["autoregressive.candidates=16"])
    assert (first.stage_calls["autoregressive"], second.stage_calls["autoregressive"]) == (8, 8)
    assert second.cache_hits["autoregressive"] == 8 and len(result.sentences[0]["scores"]["clip"]) == 16
    (fresh,), _ = run(None, ["Hello there."], sets=["autoregressive.candidates=16"])
    assert samples([fresh]) == samples([result])


def test_diffusion_steps_redo_diffusion_and_vocoder_only(store):
    run(store)
    _, report = run(store, sets=["diffusion.steps=9"])
    assert report.stage_calls == {"text": 0, "autoregressive": 0, "rerank": 0, "diffusion": 5, "vocoder": 5}


def test_one_new_text_runs_alone(store):
    run(store)
    _, report = run(store, [*TEXTS, "Something new."])
    assert report.stage_calls["diffusion"] == 1 and report.cache_hits["diffusion"] == 5


def test_result_outlives_its_intermediates(store):
    first, _ = run(store, ["Hello there."])
    document = Pipeline(load_route()).document("Hello there.", load_voice("rms"), 0)
    for step in document.units[0].steps[:-1]:
        for key in step.keys:
            (store.local_folder / entry_name(key)).unlink()
    again, report = run(store, ["Hello there."])
    assert samples(first) == samples(again) and report.stage_calls["text"] == 0


@pytest.mark.parametrize("damaged", range(5))
def test_damaged_entry_heals(store, damaged):
    first, _ = run(store, ["Hello there."])
    unit = Pipeline(load_route()).document("Hello there.", load_voice("rms"), 0).units[0]
    for step in unit.steps[damaged:]:  # what is damaged is noticed when it is needed: take away what comes after
        path = store.local_folder / entry_name(step.keys[0])
        path.write_bytes(path.read_bytes()[:-1]) if step is unit.steps[damaged] else path.unlink()
    again, _ = run(store, ["Hello there."])
    assert samples(first) == samples(again) and again[0].error is None


def test_bad_item_does_not_stop_the_others(store):
    results, report = run(store, ["Fine.", "Please explode.", "?! …", "Also fine."])
    assert [r.error is None for r in results] == [True, False, False, True]
    assert "text: boom" in results[1].error and "nothing in the text can be spoken" in results[2].error
    assert report.stage_calls["vocoder"] == 2


def test_unspeakable_sentence_in_a_longer_text_is_reported(store):
    (result,), _ = run(store, ["Hello. \U0001f389\U0001f389. Goodbye é."])
    assert result.error is None and len(result.sentences) == 2
    assert set(result.unspoken) == {"\U0001f389\U0001f389.", "é"}


def test_failed_sentence_leaves_the_sound_of_the_rest(store):
    (result,), _ = run(store, ["Hello. Now explode. Goodbye."])
    assert result.audio is not None and "boom" in result.error and result.failed == (("Now explode.", "text: boom"),)


def test_pauses_between_sentences_and_paragraphs(store):
    (joined,), _ = run(store, ["One. Two.\n\nThree."])
    singles = [r.audio.samples for r in run(store, ["One.", "Two.", "Three."])[0]]
    expected = [singles[0], np.zeros(3200, np.float32), singles[1], np.zeros(8000, np.float32), singles[2]]
    assert joined.audio.samples.tobytes() == np.concatenate(expected).tobytes()


def test_lineage_tells_the_whole_way(store):
    (result,), _ = run(store, ["Hello there."], seed=7)
    (record,) = result.sentences
    assert (record["text"], record["seed"], record["voice"], record["route"]) == ("Hello there.", 7, "rms", "tortoise")
    assert list(record["stages"]) == ["text", "autoregressive", "rerank", "diffusion", "vocoder"]
    assert len(record["stages"]["autoregressive"]["keys"]) == 6 and set(record["seconds"]) == set(record["stages"])
    assert record["versions"]["python"] and len(record["scores"]["clip"]) == 6
    assert store.read_record(record["stages"]["vocoder"]["keys"][0]) == record


def test_stage_that_breaks_its_promise_is_an_error_of_the_item(store, monkeypatch):
    from fakestages.vocoder.stage import VocoderStage

    from stages.core.types import Audio

    def broken(self, batch, *, seeds):
        return [Audio(np.full(4, np.nan, np.float32), 16000) for _ in batch]

    monkeypatch.setattr(VocoderStage, "run", broken)
    (result,), _ = run(store, ["Hello there."])
    assert result.error == "'Hello there.': vocoder: gave a Audio that is empty or holds values that are not numbers"


def test_fault_of_the_machine_stops_the_run(store, monkeypatch):
    from fakestages.vocoder.stage import VocoderStage

    def full(self, batch, *, seeds):
        raise StoreError("the disk is full")

    monkeypatch.setattr(VocoderStage, "run", full)
    with pytest.raises(StoreError, match="disk is full"):
        run(store, ["Hello there."])


def test_stage_loads_once(store, monkeypatch):
    from fakestages.text.stage import TextStage

    loads = []
    monkeypatch.setattr(module, "_residents", {})
    monkeypatch.setattr(TextStage, "load", classmethod(lambda cls, config, device: loads.append(1) or cls()))
    run(store, ["Hello there."])
    run(store, ["Something else."])
    assert loads == [1]


def test_keys_do_not_depend_on_where_weights_lie_but_on_what_they_are(world):
    pipeline = Pipeline(load_route())
    voice = load_voice("rms")
    before = pipeline.document("Hi there.", voice, 0).units[0]
    pipeline.route.nodes[3].__dict__["weights"] = "checkpoint=other"
    after = pipeline.document("Hi there.", voice, 0).units[0]
    assert [a.keys == b.keys for a, b in zip(before.steps, after.steps, strict=True)] == [
        True,
        True,
        True,
        False,
        False,
    ]
