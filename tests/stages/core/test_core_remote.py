"""Stores at S3 URLs: damage, claims of the dead, many processes, and servers that fail, against a real server."""

import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest

from stages.core import remote
from stages.core.artifacts import ArtifactStore, StoreError, entry_name
from stages.core.fingerprint import digest
from stages.core.storage import BEATS, open_storage
from stages.core.types import Audio

AUDIO = Audio(np.arange(500, dtype=np.float32), 16000)
KEYS = [digest(i) for i in range(40)]
ONE_TRY = {"config_kwargs": {"connect_timeout": 1, "read_timeout": 1, "retries": {"total_max_attempts": 1}}}


def test_a_store_at_a_url(s3, caplog):
    store = ArtifactStore(*s3)
    assert store.where == s3[0] and store.local_folder is None
    assert store.stats() == {"where": s3[0], "entries": 0, "bytes": 0, "quarantined": 0}
    assert store.verify() == (0, []) and store.gc() == (0, 0)
    store.put_many(dict.fromkeys(KEYS, AUDIO))
    store.write_records({KEYS[0]: {"text": "hi"}})
    held = store.claim(KEYS[0])
    assert store.read_record(KEYS[0]) == {"text": "hi"}
    assert store.stats()["entries"] == 41 and store.present([*KEYS, digest("no")]) == set(KEYS)
    damaged = entry_name(KEYS[3])
    data = bytearray(store.storage.read(damaged))
    data[-1] ^= 1
    store.storage.write({damaged: bytes(data)})
    assert set(store.get_many(Audio, [*KEYS[:5], digest("no")])) == set(KEYS[:5]) - {KEYS[3]}
    assert "quarantine" in caplog.text and not store.has(KEYS[3]) and store.stats()["quarantined"] == 1
    assert store.verify() == (40, [])
    assert store.gc()[0] == 1 and store.stats()["quarantined"] == 0 and store.claim(KEYS[0]) is None
    held.release()
    assert store.gc(days=-1)[0] == 40 and list(store.keys()) == []


HOLDER = """
import json, sys, time
from stages.core import remote
from stages.core.storage import open_storage
remote.BEAT = 0.3
claims = [open_storage(sys.argv[1], json.loads(sys.argv[2])).claim(name) for name in sys.argv[3:]]
print(*(claim is not None for claim in claims), flush=True)
time.sleep(60)
"""


def test_claims_of_a_dead_process_are_taken_over_by_exactly_one(s3, monkeypatch):
    monkeypatch.setattr(remote, "LEASE", 2.0)
    monkeypatch.setattr(remote, "BEAT", 0.3)
    storage, names = open_storage(*s3), [f"item-{i}" for i in range(5)]
    command = [sys.executable, "-c", HOLDER, s3[0], json.dumps(s3[1]), *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline().split() == ["True"] * 5
        time.sleep(2.5)
        assert [storage.claim(name) for name in names] == [None] * 5  # it beats, so it keeps them
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert storage.claim(names[0]) is None  # it may live, for all we know
    time.sleep(3.2)
    for name in names:
        won = []
        threads = [threading.Thread(target=lambda: won.append(storage.claim(name))) for _ in range(6)]  # noqa: B023
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(won) == 6 and sum(claim is not None for claim in won) == 1


def test_a_holder_that_could_not_beat_leaves_claims_to_those_who_took_them_over(s3, monkeypatch):
    storage = open_storage(*s3)
    claim = storage.claim("x")
    holder = claim._holder
    monkeypatch.setattr(holder, "_beaten", time.monotonic() - remote.LEASE - 1)
    claim.release()
    assert not holder.is_alive() and storage.exists("claims/x")


def test_a_claim_without_a_holder_is_free_and_old_beats_are_swept(s3, monkeypatch):
    store = ArtifactStore(*s3)
    store.storage.write({f"claims/{KEYS[0]}": b"deadbeef 1", f"claims/{KEYS[1]}": b"deadbeef 2"})
    with store.claim(KEYS[0]) as claim:
        assert claim is not None
        assert store.gc() == (1, 0)  # the other one; nobody waits for it
    assert [e.name.split("/")[0] for e in store.storage.listing()] == [BEATS]
    monkeypatch.setattr("stages.core.artifacts.time.time", lambda: time.monotonic() + 1e10)
    assert store.gc()[0] == 1


WRITER = """
import json, sys
import numpy as np
from stages.core.artifacts import ArtifactStore
from stages.core.fingerprint import digest
from stages.core.types import Audio
store = ArtifactStore(sys.argv[1], json.loads(sys.argv[2]))
for turn in range(6):
    value = Audio(np.full(20_000, turn % 3, np.float32), 16000)
    store.put_many({digest(["shared", turn % 3]): value, digest([sys.argv[3], turn]): value})
    found = store.get(Audio, digest(["shared", turn % 3]))
    assert found is not None and found.samples[0] == turn % 3
"""


def test_many_processes_write_and_read_at_once(s3):
    command = [sys.executable, "-c", WRITER, s3[0], json.dumps(s3[1])]
    writers = [subprocess.Popen([*command, str(i)]) for i in range(3)]
    assert [w.wait(120) for w in writers] == [0, 0, 0]
    assert ArtifactStore(*s3).verify() == (3 + 3 * 6, [])


def test_a_store_in_fsspecs_memory():
    store = ArtifactStore("memory://test/a store")
    store.put(KEYS[0], AUDIO)
    assert store.get(Audio, KEYS[0]) is not None and list(store.keys()) == [KEYS[0]]
    store.storage.write({f"claims/{KEYS[1]}": b"deadbeef 1"})
    assert store.claim(KEYS[1]) is not None and store.claim(KEYS[1]) is None


def test_no_bucket(s3):
    store = ArtifactStore("s3://nowhere/x", s3[1])
    for act in (lambda: store.has(KEYS[0]), lambda: store.put(KEYS[0], AUDIO), lambda: list(store.keys())):
        with pytest.raises(StoreError, match=r"s3://nowhere/x: .*there is no bucket nowhere.*cache\.dir=PATH"):
            act()


def test_nobody_answers(s3):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    store = ArtifactStore("s3://bucket/x", {"endpoint_url": url, **ONE_TRY})
    with pytest.raises(StoreError, match=r"s3://bucket/x: the cache cannot be read \(.*connect"):
        store.has(KEYS[0])


def test_wrong_credentials_are_named(s3, s3_server):
    def enforce(after):
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{s3_server}/moto-api/reset-auth", after, plain, method="POST")
        urllib.request.urlopen(request).read()

    enforce(b"0")
    try:
        with pytest.raises(StoreError, match="check the credentials in the environment"):
            ArtifactStore(s3[0], s3[1] | {"default_block_size": 2**20}).put(KEYS[0], AUDIO)
    finally:
        enforce(b"inf")


def test_no_credentials_at_all(s3_server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="Unable to locate credentials"):
        ArtifactStore("s3://anybucket/x", {"endpoint_url": s3_server, **ONE_TRY}).has(KEYS[0])


class _Moody(http.server.BaseHTTPRequestHandler):
    """Refuses every other write with 503."""

    puts = 0

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        _Moody.puts += 1
        self.send_response(503 if _Moody.puts % 2 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class _Stuck(_Moody):
    """Takes a write and never answers."""

    def do_PUT(self):
        released.wait(60)


released = threading.Event()


@pytest.fixture
def served(s3):
    """Gives `served(handler)`: the URL of a server of its own."""
    servers = []

    def serve(handler):
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    released.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_server_that_is_busy_for_a_moment_is_asked_again(served):
    ArtifactStore("s3://bucket/x", {"endpoint_url": served(_Moody)}).put(KEYS[0], AUDIO)
    assert _Moody.puts == 2


def test_a_server_that_is_stuck_is_given_up(served):
    store, start = ArtifactStore("s3://bucket/x", {"endpoint_url": served(_Stuck), **ONE_TRY}), time.monotonic()
    with pytest.raises(StoreError, match="cannot be written"):
        store.put(KEYS[0], AUDIO)
    assert time.monotonic() - start < 20
