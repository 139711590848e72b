"""A real S3-compatible server on loopback."""

import itertools
import logging

import pytest

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3_server():
    """URL of the server."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for every request
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """(URL of a store in an empty bucket, options to reach it)."""
    import fsspec

    for name, value in {"ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "hush", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket, options = f"bucket-{next(NUMBERS)}", {"endpoint_url": s3_server}
    fsspec.filesystem("s3", **options).mkdir(bucket)
    return f"s3://{bucket}/a/store", options
