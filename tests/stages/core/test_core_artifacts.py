"""The artifact store: exact round trips, atomic writes, damage found and set aside, many writers."""

import errno
import logging
import multiprocessing
import os

import numpy as np
import pytest

from stages.core import files
from stages.core.artifacts import ArtifactStore, MemoryStore, StoreError, decode, encode, pack
from stages.core.fingerprint import digest
from stages.core.types import Audio, Candidate, Mel, Phonemes, RankedCodes, SpeechCodes, Voice, Word

KEY = digest("a key")
RNG = np.random.default_rng(0)
CODES = SpeechCodes(RNG.integers(0, 512, 40), "book")
AUDIO = Audio(RNG.normal(size=999).astype(np.float32) * 3, 16000)
VALUES = [
    Phonemes("Hi \ud800\x00 é", (Word("hi", ("hh", "ay")),), ("pau", "hh", "ay", "pau"), ("é",)),
    Candidate(CODES, 2**62 + 1, -1.2345678901234567, ("loop", "truncated")),
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
    for position in range(0, len(whole), 3):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        path.write_bytes(data)
        found = store.get(Audio, KEY)
        assert found is None or same(found, small), position
        if found is None:
            assert not store.has(KEY)
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


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_failure_at_any_step_leaves_the_old_entry_and_no_litter(step, tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path)
    store.put(KEY, AUDIO)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_, **__):
        raise full

    if step == "write":
        monkeypatch.setattr("builtins.open", fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(StoreError, match=r"cannot be written \(No space left.*cache\.dir=PATH"):
        store.put(KEY, Audio(np.zeros(9, np.float32), 16000))
    monkeypatch.undo()
    assert same(store.get(Audio, KEY), AUDIO)
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


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
    for key in keys:
        store.put(key, AUDIO)
    path = store.folder / keys[0][:2] / f"{keys[0][2:]}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.verify() == (3, [keys[0]])
    assert store.gc()[0] == 1 and store.stats() | {"bytes": 0} == {
        "folder": str(store.folder),
        "entries": 3,
        "bytes": 0,
        "quarantined": 0,
    }
    stale = store.folder / keys[1][:2] / ".x.partial"
    stale.write_text("half")
    assert store.gc()[0] == 0
    os.utime(stale, (0, 0))
    assert store.gc()[0] == 1
    assert store.gc(days=0)[0] == 3 and store.stats()["entries"] == 0


def test_lineage_record(tmp_path):
    store = ArtifactStore(tmp_path)
    assert store.read_record(KEY) is None
    store.write_record(KEY, {"text": "hi", "scores": [0.1]})
    assert store.read_record(KEY) == {"text": "hi", "scores": [0.1]}


def test_write_atomic_replaces(tmp_path):
    files.write_atomic(tmp_path / "a", b"one")
    files.write_atomic(tmp_path / "a", b"two")
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"two"
