"""Features are computed once by content, whatever the manifest, process or order; bad rows are named."""

import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest
import soundfile
import tinycorpus

from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioError, AudioSpec
from stages.core.config import ConfigError
from stages.data import features
from stages.data.features import FLAT, build_features, frame_durations, frame_energy, load_features
from stages.data.sounds import JOURNAL, scan

SPEC = AudioSpec()


@pytest.fixture
def manifest(tmp_path):
    """A manifest of 5 utterances each of two voices."""
    return tinycorpus.write(tmp_path, 5)


@pytest.fixture
def computed(monkeypatch):
    """Lengths of the utterances that were computed, in order."""
    calls, own = [], features.utterance_features
    monkeypatch.setattr(features, "utterance_features", lambda s, spec: calls.append(len(s)) or own(s, spec))
    return calls


def rewrite(manifest, change):
    """Writes the manifest again after `change(rows)`."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows = change(rows) or rows
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))


def flat(folder):
    return {name: (folder / file).read_bytes() for name, file in FLAT.items()}


def test_one_more_row_computes_one_utterance(manifest, computed):
    rewrite(manifest, lambda rows: rows[:9])
    first = load_features(build_features(manifest, SPEC))
    assert len(computed) == 9
    tinycorpus.write(manifest.parent, 5)  # writes the sounds again: other times, same bytes
    second = load_features(build_features(manifest, SPEC))
    assert len(computed) == 10 and len(second) == 10
    end = first.frame_start[-1]
    assert np.array_equal(first.mel, second.mel[:end]) and np.array_equal(first.energy, second.energy[:end])


def test_order_and_names_do_not_matter(manifest, computed):
    plain = load_features(build_features(manifest, SPEC))
    rewrite(manifest, lambda rows: [row | {"id": f"x{row['id']}"} for row in rows[::-1]])
    turned = load_features(build_features(manifest, SPEC))
    assert len(computed) == 10 and turned.ids == [f"x{name}" for name in plain.ids[::-1]]
    for i in range(10):
        here, there = turned.frames_of(i), plain.frames_of(9 - i)
        assert np.array_equal(turned.mel[here], plain.mel[there])
        assert np.array_equal(turned.pitch[here], plain.pitch[there])
        assert np.array_equal(turned.audio[turned.samples_of(i)], plain.audio[plain.samples_of(9 - i)])


@pytest.mark.slow
def test_worker_processes_give_the_same_bits(manifest, computed, monkeypatch):
    monkeypatch.setattr(features, "FEW", 2)
    monkeypatch.setattr(features, "CHUNK", 3)
    monkeypatch.setattr(features, "in_chunks", lambda *a, own=features.in_chunks: own(*a, few=2))
    spawned = flat(build_features(manifest, SPEC, workers=2))
    assert computed == []  # in other processes
    shutil.rmtree(manifest.parent / "utterances")
    shutil.rmtree(next(manifest.parent.glob("features-*")))
    assert flat(build_features(manifest, SPEC, workers=1)) == spawned and len(computed) == 10


def test_flat_values_are_those_of_the_sound(manifest):
    corpus = load_features(build_features(manifest, SPEC))
    samples, _ = soundfile.read(manifest.parent / "audio/rms/0.wav", dtype="float32")
    own = corpus.audio[corpus.samples_of(0)]
    assert np.array_equal(own[: len(samples)], (samples * 32767).astype(np.int16)) and not own[len(samples) :].any()
    padded = np.pad(samples, (0, len(own) - len(samples)))
    assert np.array_equal(corpus.energy[corpus.frames_of(0)], frame_energy(padded, SPEC))


def test_energy_is_the_level_in_decibels():
    full = np.tile([1.0, -1.0], SPEC.hop).astype(np.float32)
    assert frame_energy(np.concatenate([full, 0.1 * full, 0 * full]), SPEC).tolist() == pytest.approx(
        [0, 0, -20, -20, -100, -100], abs=0.01
    )


def test_durations_sum_to_the_frames():
    rng = np.random.default_rng(0)
    for _ in range(200):
        frames = int(rng.integers(1, 90))
        ends = np.sort(rng.uniform(0, frames / 60, int(rng.integers(1, 30))))  # some past the end of the sound
        found = frame_durations(ends, frames, SPEC.frame_rate)
        assert found.sum() == frames and len(found) == len(ends) and (found >= 0).all()
    assert frame_durations(np.array([0.016, 0.032, 0.048]), 4, 62.5).tolist() == [1, 1, 2]
    assert frame_durations(np.zeros(0), 4, 62.5).tolist() == []


def test_durations_follow_the_phones(tiny_corpus):
    for i in (0, 30):
        found = tiny_corpus.durations_of(i)
        seconds = np.diff(tiny_corpus.phone_end[tiny_corpus.phones_of(i)], prepend=0)
        assert found.sum() == tiny_corpus.lengths[i] and np.abs(found[:-1] / 62.5 - seconds[:-1]).max() <= 0.016


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phones": [["AH0", 0.1]]}, "manifest.jsonl:3: .*'AH0' is not a phone; did you mean 'ah'"),
        ({"duration": 9.0}, r"manifest.jsonl:3: .*the manifest says 9.000 s: it was changed since; prepare"),
        ({"duration": float("nan")}, "manifest.jsonl:3: .*it was changed since"),
    ],
)
def test_a_row_that_does_not_fit_is_named(manifest, computed, change, message):
    rewrite(manifest, lambda rows: rows[2].update(change))
    with pytest.raises(ConfigError, match=message):
        build_features(manifest, SPEC)
    assert computed == [] and not list(manifest.parent.glob("*features*"))


def test_another_rate_is_refused(manifest):
    path = manifest.parent / "audio/rms/2.wav"
    samples, _ = soundfile.read(path)
    soundfile.write(path, samples, 22050)
    with pytest.raises(
        ConfigError, match=r"manifest.jsonl:3: .*2.wav has 22050 samples per second, the AudioSpec 16000"
    ):
        build_features(manifest, SPEC)


@pytest.mark.parametrize("fault", ["gone", "empty", "text"])
def test_sound_that_is_none_is_named(manifest, fault):
    path = manifest.parent / "audio/rms/2.wav"
    path.unlink()
    if fault != "gone":
        path.write_bytes(b"" if fault == "empty" else b"no sound " * 50)
    with pytest.raises(AudioError, match=r"audio/rms/2.wav: .*prepare the corpus again"):
        build_features(manifest, SPEC)


def test_changed_sound_gives_other_features(manifest, computed):
    before = build_features(manifest, SPEC)
    path = manifest.parent / "audio/rms/2.wav"
    samples, _ = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples * 0.5, 16000, subtype="PCM_16")
    os.utime(path, ns=(1, 1))
    after = build_features(manifest, SPEC)
    assert after != before and len(computed) == 11
    a, b = load_features(before), load_features(after)
    assert np.array_equal(a.mel[a.frames_of(1)], b.mel[b.frames_of(1)])
    assert not np.array_equal(a.mel[a.frames_of(2)], b.mel[b.frames_of(2)])


def test_a_damaged_entry_is_computed_again(manifest, computed):
    whole = flat(build_features(manifest, SPEC))
    shutil.rmtree(next(manifest.parent.glob("features-*")))
    entries = sorted((manifest.parent / "utterances").glob("??/*.safetensors"))
    entries[3].write_bytes(entries[3].read_bytes()[:-7])
    assert flat(build_features(manifest, SPEC)) == whole and len(computed) == 11


def test_an_interrupted_run_goes_on(manifest, computed, monkeypatch):
    monkeypatch.setattr(features, "CHUNK", 4)
    own = features._fill

    def dies(partial, spec, store, jobs):
        if jobs[0].start:
            raise KeyboardInterrupt
        return own(partial, spec, store, jobs)

    monkeypatch.setattr(features, "_fill", dies)
    with pytest.raises(KeyboardInterrupt):
        build_features(manifest, SPEC)
    assert not list(manifest.parent.glob("features-*")) and len(computed) == 4
    monkeypatch.setattr(features, "_fill", own)
    assert len(load_features(build_features(manifest, SPEC))) == 10 and len(computed) == 10
    assert not list(manifest.parent.glob(".features*"))


def _build(manifest, results):
    results.put(str(build_features(manifest, SPEC)))


def test_two_processes_share_one_folder(manifest):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    both = [context.Process(target=_build, args=(manifest, results)) for _ in range(2)]
    for process in both:
        process.start()
    found = {results.get(timeout=60) for _ in both}
    for process in both:
        process.join()
    assert len(found) == 1 and len(load_features(found.pop())) == 10
    stats = ArtifactStore(manifest.parent / "utterances").stats()
    assert (stats["entries"], stats["quarantined"]) == (10, 0)


def test_a_journal_that_is_no_journal_is_made_again(manifest, tmp_path):
    paths = [tmp_path / "audio/rms/0.wav"]
    first = scan(paths, tmp_path)
    for text in ("[]", '{"audio/rms/0.wav": [1]}', "{"):
        (tmp_path / JOURNAL).write_text(text)
        assert scan(paths, tmp_path) == first and "audio/rms/0.wav" in json.loads((tmp_path / JOURNAL).read_text())


def test_older_folders_can_still_be_read(manifest):
    folder = build_features(manifest, SPEC)
    (folder / FLAT["energy"]).unlink()
    assert load_features(folder).energy is None and len(load_features(folder)) == 10
    (folder / FLAT["mel"]).unlink()
    with pytest.raises(ConfigError, match="no whole features folder"):
        load_features(folder)
