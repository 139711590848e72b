"""Storages: what every kind promises, and claims that a dead holder cannot keep."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from stages.core.storage import CLAIMS, LocalStorage, MemoryStorage, StoreError, open_storage

KINDS = ["folder", "memory", "fsspec-memory", "s3"]


@pytest.fixture(params=KINDS)
def storage(request, tmp_path):
    if request.param == "s3":
        return open_storage(*request.getfixturevalue("s3"))
    if request.param == "fsspec-memory":
        return open_storage(f"memory://{tmp_path.name}")
    return LocalStorage(tmp_path / "store") if request.param == "folder" else MemoryStorage()


def test_files_come_back_and_go(storage):
    files = {"ab/one": b"1", "ab/two": b"22" * 9999, "cd/three": b"\0" * 3}
    assert storage.read("ab/one") is None and storage.read_many(files) == {} and list(storage.listing()) == []
    assert storage.present(files) == set() and not storage.exists("ab/one")
    storage.write(files)
    assert storage.read_many([*files, "ab/none"]) == files and storage.read("ab/two") == files["ab/two"]
    assert storage.present([*files, "ab/none", "ef/none"]) == set(files) and storage.exists("cd/three")
    found = list(storage.listing())
    assert [(e.name, e.size) for e in found] == [(n, len(d)) for n, d in files.items()]
    assert all(abs(time.time() - e.modified) < 60 for e in found)
    storage.write({"ab/one": b""})
    assert storage.read("ab/one") == b"" and storage.exists("ab/one")
    storage.delete(["ab/one", "ab/none"])
    storage.move("ab/two", "quarantine/two")
    storage.move("ab/none", "quarantine/none")
    assert [e.name for e in storage.listing()] == ["cd/three", "quarantine/two"]


def test_many_names_at_once(storage):
    names = [f"{i % 3:02x}/{i:04}" for i in range(120)]
    storage.write({name: name.encode() for name in names[::2]})
    assert storage.present(names) == set(names[::2]) and storage.present([]) == set()
    assert set(storage.read_many(names)) == set(names[::2])
    storage.delete(names)
    assert list(storage.listing()) == []


def test_a_claim_is_one_holders_until_it_is_released(storage):
    claim = storage.claim("x")
    assert claim is not None and storage.claim("x") is None and storage.claim("y") is not None
    claim.release()
    with storage.claim("x") as again:
        claim.release()  # the second time frees nothing
        assert again is not None and storage.claim("x") is None
    assert storage.claim("x") is not None


def test_threads_exclude_each_other(storage):
    inside, met, done = [0] * 4, [], []

    def work():
        for item in range(4):
            while (claim := storage.claim(f"item-{item}")) is None:
                time.sleep(0.002)
            with claim:
                inside[item] += 1
                time.sleep(0.002)
                met.append(inside[item])
                inside[item] -= 1
            done.append(item)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 16 and set(met) == {1}


def test_survives_pickling(storage, tmp_path, monkeypatch):
    storage.write({"ab/one": b"1"})
    copy = pickle.loads(pickle.dumps(storage))
    monkeypatch.chdir("/")
    assert copy.read("ab/one") == b"1" and copy.claim("x") is not None


def test_a_pickled_folder_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage("store")
    storage.write({"ab/one": b"1"})
    sent = pickle.dumps(storage)
    monkeypatch.chdir("/")
    assert pickle.loads(sent).read("ab/one") == b"1"


PLAYER = """
import sys, time
from stages.core.storage import LocalStorage
storage, log = LocalStorage(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
for item in range(40):
    claim = storage.claim(str(item))
    if claim is None or storage.exists(f"done/{item}"):
        claim and claim.release()
        continue
    time.sleep(0.002)
    log.write(f"{item}\\n")
    storage.write({f"done/{item}": b"x"})
    claim.release()
"""


def test_processes_share_work_and_do_none_of_it_twice(tmp_path):
    command = [sys.executable, "-c", PLAYER, str(tmp_path / "store"), str(tmp_path / "log")]
    players = [subprocess.Popen(command) for _ in range(4)]
    assert [p.wait(60) for p in players] == [0] * 4
    computed = (tmp_path / "log").read_text().split()
    assert sorted(map(int, computed)) == list(range(40))
    assert os.listdir(tmp_path / "store" / CLAIMS) == []


HOLDER = """
import sys, time
from stages.core.storage import LocalStorage
claim = LocalStorage(sys.argv[1]).claim("x")
print("held" if claim else "lost", flush=True)
time.sleep(60)
"""


def test_death_by_kill_frees_a_local_claim_at_once(tmp_path):
    storage = LocalStorage(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert storage.claim("x") is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert storage.claim("x") is not None


def test_a_claim_file_removed_under_a_waiting_process_is_not_a_claim(tmp_path, monkeypatch):
    """The holder releases (and removes the file) between another's open and its lock."""
    import fcntl

    storage, locked = LocalStorage(tmp_path), fcntl.flock
    first = storage.claim("x")

    def release_first(*arguments):
        monkeypatch.setattr(fcntl, "flock", locked)
        first.release()
        locked(*arguments)

    monkeypatch.setattr(fcntl, "flock", release_first)
    second = storage.claim("x")
    assert second is not None and storage.claim("x") is None
    assert os.listdir(tmp_path / CLAIMS) == ["x"]


def test_what_cannot_be_a_storage_is_one_sentence(tmp_path, monkeypatch):
    for place, options, message in [
        (tmp_path, {"endpoint_url": "x"}, "is a folder and takes none"),
        ("ftp://host/x", {}, "no store can be at ftp://; give a folder or s3, gs, memory://"),
        ("s3://", {}, "cannot be this URL; give s3://bucket/prefix"),
        ("s3://key:secret@bucket/x", {}, "cannot be this URL"),
        ("s3://bucket/x", {"secret": "x"}, "'secret' looks like a secret.*AWS_ACCESS_KEY_ID"),
        ("s3://bucket/x", {"client_kwargs": {"aws_access_key_id": "x"}}, "'aws_access_key_id' looks like a secret"),
    ]:
        with pytest.raises(StoreError, match=message) as error:
            open_storage(place, options)
        assert "key:secret" not in str(error.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreError, match="needs the package s3fs, which is not installed; run uv sync --extra s3"):
        open_storage("s3://bucket/x")


def test_file_url_is_a_folder(tmp_path):
    assert open_storage(f"file://{tmp_path}").folder == tmp_path
