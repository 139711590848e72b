"""The same sound is the same bytes, whole or not at all, and says where it came from."""

import errno
import io
import subprocess
import time

import numpy as np
import pytest
import soundfile

import stages.core.files
from flows import outputs
from flows.outputs import (
    FORMATS,
    OutputError,
    check_sound_path,
    read_sums,
    read_tag,
    sound_bytes,
    write_file,
    write_sums,
)
from stages.core.fingerprint import file_digest
from stages.core.types import Audio

TAG = "caretta " + "0123456789abcdef" * 4
SECONDS = 5
TIME = np.arange(16000 * SECONDS) / 16000
SPEECH = Audio((0.6 * np.sin(2 * np.pi * 220 * TIME) * np.sin(2 * np.pi * 3 * TIME)).astype(np.float32), 16000)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_sound_file_is_read_back_and_is_the_same_every_time(suffix, tmp_path):
    data = sound_bytes(SPEECH, suffix, TAG)
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == 16000 and samples.shape == SPEECH.samples.shape
    assert np.corrcoef(samples, SPEECH.samples)[0, 1] > 0.999
    untagged, _ = soundfile.read(io.BytesIO(sound_bytes(SPEECH, suffix)), dtype="float32")
    np.testing.assert_array_equal(samples, untagged)
    time.sleep(0.01)
    assert sound_bytes(SPEECH, suffix, TAG) == data
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    assert read_tag(path) == TAG
    path.write_bytes(sound_bytes(SPEECH, suffix))
    assert read_tag(path) is None


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("count", [1, 100])
def test_the_shortest_sounds_are_files_too(suffix, count):
    audio = Audio(SPEECH.samples[:count], 16000)
    assert soundfile.info(io.BytesIO(sound_bytes(audio, suffix))).frames == count


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_encoders_draw_serials_but_our_files_share_one(suffix):
    kind, subtype = FORMATS[suffix]

    def raw():
        buffer = io.BytesIO()
        soundfile.write(buffer, SPEECH.samples[:8000], 16000, subtype, format=kind)
        return buffer.getvalue()

    first, fixed = raw(), {outputs._fixed_serial(raw()) for _ in range(3)}
    assert len(fixed) == 1 and fixed.pop()[14:18] != first[14:18]
    page = bytearray(first)  # libogg's own sum is what ours must be
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    stored = int.from_bytes(page[22:26], "little")
    page[22:26] = bytes(4)
    assert outputs._ogg_checksum(bytes(page[:length])) == stored


def test_what_a_format_cannot_hold_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match="opus takes 8000, .* not 22050; use wav"):
        sound_bytes(Audio(SPEECH.samples, 22050), ".opus")
    with pytest.raises(OutputError, match="no samples"):
        sound_bytes(Audio(SPEECH.samples[:0], 16000), ".wav")
    for path, message in (("a.mp3", "use one of .wav"), ("no/a.wav", "there is no folder"), ("d.wav", "is a folder")):
        (tmp_path / "d.wav").mkdir(exist_ok=True)
        with pytest.raises(OutputError, match=message):
            check_sound_path(tmp_path / path)


def test_no_tag_in_what_is_no_sound(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"nonsense")
    (tmp_path / "d.wav").mkdir()
    (tmp_path / "e.ogg").write_bytes(b"")
    (tmp_path / "t.raw").write_bytes(b"no header")
    for name in ("a.wav", "d.wav", "e.ogg", "t.raw", "none.wav"):
        with pytest.raises(OutputError, match=f"{name}: .*; name a file that caretta wrote"):
            read_tag(tmp_path / name)


def test_sums_are_those_of_sha256sum(tmp_path):
    names = ["b.wav", "a.opus", "manifest.jsonl"]
    sums = {name: write_file(tmp_path / name, name.encode()) for name in names}
    assert sums == {name: file_digest(tmp_path / name) for name in names}
    write_sums(tmp_path, sums)
    assert read_sums(tmp_path) == sums and list(read_sums(tmp_path)) == sorted(names)
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, capture_output=True)
    assert checked.returncode == 0
    write_sums(tmp_path, dict(reversed(sums.items())))
    assert list(read_sums(tmp_path)) == sorted(names)


def test_damaged_sums_say_nothing(tmp_path):
    assert read_sums(tmp_path) == {}
    write_sums(tmp_path, {"a.wav": "a" * 64, "b.wav": "b" * 64})
    whole = (tmp_path / "SHA256SUMS").read_bytes()
    for damaged in (whole[:-1], whole[:-5], whole[3:], b"\xff" + whole, whole.replace(b"  ", b" "), whole + b"x\n"):
        (tmp_path / "SHA256SUMS").write_bytes(damaged)
        assert read_sums(tmp_path) == {}, damaged
    (tmp_path / "SHA256SUMS").unlink()
    (tmp_path / "SHA256SUMS").mkdir()
    assert read_sums(tmp_path) == {}


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    write_file(path, b"before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stages.core.files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.wav: cannot be written \(No space left on device\)"):
        write_file(path, b"after")
    with pytest.raises(OutputError, match="SHA256SUMS: cannot be written"):
        write_sums(tmp_path, {"a.wav": "a" * 64})
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"] and path.read_bytes() == b"before"
    assert write_file(path, b"before")  # what is there already needs no room


def test_a_finished_file_is_not_written_again(tmp_path):
    path = tmp_path / "a.flac"
    first = outputs.write_sound(path, SPEECH, TAG)
    inode = path.stat().st_ino
    assert outputs.write_sound(path, SPEECH, TAG) == first and path.stat().st_ino == inode
    path.write_bytes(b"x" * path.stat().st_size)
    assert outputs.write_sound(path, SPEECH, TAG) == first == file_digest(path)
