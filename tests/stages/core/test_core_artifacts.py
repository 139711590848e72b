"""The artifact store: exact round trips, atomic writes, damage found and set aside, many writers."""

import errno
import importlib
import itertools
import logging
import multiprocessing
import os
import pickle
import signal
from dataclasses import replace

import numpy as np
import pytest

from stages.core import files
from stages.core.artifacts import ArtifactStore, MemoryStore, StoreError, entry_name
from stages.core.codecs import decode, encode, pack
from stages.core.fingerprint import digest
from stages.core.types import Audio, Candidate, Mel, Phonemes, RankedCodes, SpeechCodes, Voice, Word

KEY = digest("a key")
RNG = np.random.default_rng(0)
CODES = SpeechCodes(RNG.integers(0, 512, 40), "book")
AUDIO = Audio(RNG.normal(size=999).astype(np.float32) * 3, 16000)
VALUES = [
    Phonemes("Hi \ud800\x00 é", (Word("hi", ("hh", "ay")),), ("pau", "hh", "ay", "pau"), ("é",)),
    Candidate(CODES, 2**62 + 1, -1.2345678901234567, ("loop", "truncated")),
    Candidate(replace(CODES, phones=RNG.integers(0, 42, 40)), 7, -0.5),
    RankedCodes(replace(CODES, phones=RNG.integers(0, 42, 40)), 0),
    RankedCodes(CODES, 1, {"clip": (0.1, -0.3), "length": (1.0, 2.0)}, ("loop",)),
    Mel(RNG.normal(size=(7, 80)).astype(np.float32), "spec"),
    AUDIO,
    Voice("rms", AUDIO, "free", digest("voice")),
]


def same(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(same(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("make", [lambda p: ArtifactStore(p), lambda p: MemoryStore()], ids=["folder", "memory"])
def test_value_comes_back_exactly(value, make, tmp_path):
    store = make(tmp_path / "cache")
    assert store.get(type(value), KEY) is None
    store.put(KEY, value)
    assert store.has(KEY)
    assert same(store.get(type(value), KEY), value)


def test_codec_refuses_other_types_and_dtypes():
    with pytest.raises(TypeError, match="int has no codec"):
        encode(3)
    with pytest.raises(ValueError, match="expected float32, got float64"):
        encode(Audio(np.zeros(3), 16000))
    with pytest.raises(ValueError, match="entry of type 'Audio'"):
        decode(Mel, *encode(AUDIO))


def test_entry_bytes_are_deterministic():
    assert len({pack(KEY, *encode(VALUES[2])) for _ in range(20)}) == 1


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "/" + "a" * 63])
def test_key_is_never_a_path(key, tmp_path):
    with pytest.raises(ValueError, match="not a key"):
        ArtifactStore(tmp_path).write(key, {}, {})


def test_any_flipped_bit_is_a_miss_and_goes_to_quarantine(tmp_path, caplog):
    store = ArtifactStore(tmp_path / "cache")
    small = Audio(np.arange(5, dtype=np.float32), 16000)
    whole = pack(KEY, *encode(small))
    path = tmp_path / "cache" / KEY[:2] / f"{KEY[2:]}.safetensors"
    store.put(KEY, small)
    for position in range(len(whole)):  # of the header's length, the header with its padding and the samples
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        path.write_bytes(data)
        assert store.get(Audio, KEY) is None and not store.has(KEY), position
    for cut in (0, 4, 8, 40, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert store.get(Audio, KEY) is None
    assert list((tmp_path / "cache" / "quarantine").iterdir())
    assert any(r.levelno == logging.WARNING and "quarantine" in r.getMessage() for r in caplog.records)
    store.put(KEY, small)
    assert same(store.get(Audio, KEY), small)


def test_entry_in_the_wrong_place_is_damage(tmp_path):
    store, other = ArtifactStore(tmp_path), digest("another")
    store.put(KEY, AUDIO)
    path = tmp_path / other[:2] / f"{other[2:]}.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((tmp_path / KEY[:2] / f"{KEY[2:]}.safetensors").read_bytes())
    assert store.get(Audio, other) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("step", ["builtins.open", "os.fsync", "os.replace"])
@pytest.mark.parametrize("good", [0, 2])
def test_failure_at_any_step_leaves_whole_entries_and_no_litter(good, step, number, tmp_path, monkeypatch):
    """The step fails after `good` of three entries that are written together."""
    store = ArtifactStore(tmp_path)
    store.put(KEY, AUDIO)
    module, name = step.split(".")
    real, calls = getattr(importlib.import_module(module), name), itertools.count()

    def fail(*arguments):
        if next(calls) >= good:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(StoreError, match=rf"cannot be written \({os.strerror(number)}\).*cache\.dir=PATH"):
            store.put_many({digest("a"): AUDIO, digest("b"): AUDIO, KEY: VALUES[0]})
    kept = set(store.keys())
    assert KEY in kept and (step == "os.replace" or kept == {KEY})
    assert store.verify() == (len(kept), []) and same(store.get(Audio, KEY), AUDIO)
    assert not list(tmp_path.rglob("*.partial"))


BATCHES = [{digest([turn, i]): AUDIO for i in range(3)} for turn in range(3)]


def _put_until_killed(folder, boundary, told):
    """Kills itself at the boundary-th system call that changes the folder; tells how many batches were done."""
    calls = itertools.count(1)

    def deadly(call):
        def wrapped(*arguments, **more):
            if next(calls) == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return wrapped

    os.fsync, os.replace, os.mkdir = deadly(os.fsync), deadly(os.replace), deadly(os.mkdir)
    store = ArtifactStore(folder)
    for batch in BATCHES:
        store.put_many(batch)
        os.write(told, b"x")
    os._exit(0)


def test_kill_at_every_write_boundary_loses_nothing_finished(tmp_path):
    ended = False
    for boundary in itertools.count(1):
        reader, told = os.pipe()
        folder = tmp_path / str(boundary)
        child = os.fork()
        if child == 0:
            _put_until_killed(folder, boundary, told)
        os.close(told)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with open(reader, "rb") as told_by:
            done = len(told_by.read())
        store = ArtifactStore(folder)
        assert store.verify()[1] == [], boundary
        assert set(store.keys()) >= {key for batch in BATCHES[:done] for key in batch}, boundary
        for batch in BATCHES[done:]:
            store.put_many(batch)
        assert store.verify() == (9, [])
        for litter in folder.rglob("*.partial"):
            os.utime(litter, (0, 0))
        store.gc()
        assert len([p for p in folder.rglob("*") if p.is_file()]) == 9
        if ended:
            break
    assert boundary > 30


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cache cannot be written"):
        ArtifactStore(tmp_path / "file" / "cache").put(KEY, AUDIO)


def _hammer(folder, seed):
    store = ArtifactStore(folder)
    for turn in range(30):
        key = digest(["shared", turn % 5])
        store.put(key, Audio(np.full(20_000, turn % 5, np.float32), 16000))
        value = store.get(Audio, key)
        if value is None or value.samples[0] != turn % 5:
            os._exit(1)
    os._exit(0)


def test_many_processes_write_and_read_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_hammer, args=(tmp_path, i)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [w.exitcode for w in workers] == [0, 0, 0, 0]
    store = ArtifactStore(tmp_path)
    assert store.stats()["entries"] == 5 and store.stats()["quarantined"] == 0
    assert not list(tmp_path.rglob("*.partial"))


def test_stats_verify_and_gc(tmp_path):
    store = ArtifactStore(tmp_path / "cache")
    assert store.stats()["entries"] == 0 and store.verify() == (0, []) and store.gc() == (0, 0)
    keys = [digest(i) for i in range(4)]
    store.put_many(dict.fromkeys(keys, AUDIO))
    size = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert store.stats() == {"where": str(tmp_path / "cache"), "entries": 4, "bytes": size, "quarantined": 0}
    path = tmp_path / "cache" / entry_name(keys[0])
    path.write_bytes(path.read_bytes()[:-1])
    read = []
    assert store.verify(read.append) == (3, [keys[0]]) and sum(read) == 4
    assert store.stats()["quarantined"] == 1
    assert store.gc()[0] == 1 and store.stats()["entries"] == 3 and store.stats()["quarantined"] == 0
    stale = path.with_name(".x.partial")
    stale.write_text("half")
    assert store.gc()[0] == 0
    os.utime(stale, (0, 0))
    assert store.gc()[0] == 1
    assert store.gc(days=0)[0] == 3 and store.stats()["entries"] == 0


def test_other_files_of_the_folder_are_not_entries(tmp_path):
    store = ArtifactStore(tmp_path)
    store.put(KEY, AUDIO)
    held = store.claim(digest("held"))
    (tmp_path / "claims" / digest("dead")).touch()
    (tmp_path / "prefect" / "ab").mkdir(parents=True)
    (tmp_path / "prefect" / "ab" / entry_name(KEY)[3:]).touch()
    store.storage.write({"timings/x.json": b"{}"})
    (tmp_path / "note.txt").touch()
    assert list(store.keys()) == [KEY] and store.stats()["entries"] == 1 and store.verify() == (1, [])
    assert store.gc() == (1, 0)  # the dead claim
    assert store.claim(digest("held")) is None
    held.release()
    assert os.listdir(tmp_path / "claims") == [] and (tmp_path / "note.txt").exists()


def test_verify_survives_an_entry_that_vanishes(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path)
    store.put_many({KEY: AUDIO, digest("b"): AUDIO})
    read = store.storage.read

    def vanish(name):
        (tmp_path / entry_name(KEY)).unlink(missing_ok=True)
        return read(name)

    monkeypatch.setattr(store.storage, "read", vanish)
    assert store.verify() == (1, [])


def test_many_at_once(tmp_path, caplog):
    store, keys = ArtifactStore(tmp_path), [digest(i) for i in range(100)]
    store.put_many({})
    store.put_many(dict.fromkeys(keys[::2], AUDIO))
    store.put(keys[1], VALUES[0])
    assert store.present(keys) == {*keys[::2], keys[1]}
    found = store.get_many(Audio, keys)  # keys[1] holds something else
    assert set(found) == set(keys[::2]) and all(same(value, AUDIO) for value in found.values())
    assert "does not hold a Audio" in caplog.text and not store.has(keys[1])


def test_store_survives_pickling(tmp_path):
    for store in (ArtifactStore(tmp_path), MemoryStore()):
        store.put(KEY, AUDIO)
        assert same(pickle.loads(pickle.dumps(store)).get(Audio, KEY), AUDIO)


def test_lineage_record(tmp_path):
    store = ArtifactStore(tmp_path)
    assert store.read_record(KEY) is None
    store.write_records({KEY: {"text": "hi", "scores": [0.1]}})
    assert store.read_record(KEY) == {"text": "hi", "scores": [0.1]}


def test_write_atomic_replaces(tmp_path):
    files.write_atomic(tmp_path / "a", b"one")
    files.write_atomic(tmp_path / "a", b"two")
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"two"
