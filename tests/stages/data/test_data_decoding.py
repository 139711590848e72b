import io

import numpy as np
import pytest
import soundfile

from stages.data.decoding import Fault, decode

RATE = 16000
TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)).astype(np.float32)


def file(samples=TONE, format="WAV", subtype="PCM_16"):
    out = io.BytesIO()
    soundfile.write(out, samples, RATE, format=format, subtype=subtype)
    return out.getvalue()


@pytest.mark.parametrize(
    ("format", "subtype", "notes", "near"),
    [("WAV", "PCM_16", (), 1e-4), ("WAV", "PCM_U8", ("8_bit",), 1e-2), ("WAV", "FLOAT", ("float",), 0),
     ("WAV", "PCM_24", ("deep",), 1e-6), ("FLAC", "PCM_16", ("misnamed",), 1e-4),
     ("OGG", "VORBIS", ("lossy", "misnamed"), 0.1), ("MP3", "MPEG_LAYER_III", ("lossy", "misnamed"), 0.1)],
)  # fmt: skip
def test_formats_are_read_as_what_they_are(format, subtype, notes, near):
    found = decode(file(format=format, subtype=subtype), "clip.wav")
    assert found.notes == notes and found.rate == RATE and found.samples.dtype == np.float32
    assert np.abs(found.samples[2000:-4000] - TONE[2000 : len(found.samples) - 4000]).max() <= near


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty_audio"), (file(TONE[:0]), "empty_audio"), (b"not a sound", "unreadable_audio"),
     (b"RIFF\0\0\0\0WAVEfmt ", "unreadable_audio"), (file()[:20], "unreadable_audio"),
     (file()[:9000], "truncated_audio"), (file(format="OGG", subtype="VORBIS")[:-900], "truncated_audio"),
     (file(0 * TONE), "silent_audio"), (file(0 * TONE + 0.5), "silent_audio"), (file(1e-4 * TONE), "silent_audio"),
     (file(np.where(TONE > 0.29, np.nan, TONE), subtype="FLOAT"), "not_finite")],
)  # fmt: skip
def test_every_fault_has_its_name_and_names_the_file(data, reason):
    with pytest.raises(Fault) as caught:
        decode(data, "some/clip.wav")
    assert caught.value.reason == reason
    assert caught.value.detail.startswith("some/clip.wav: ") and "\n" not in caught.value.detail


def test_a_flac_file_that_was_cut_off_is_refused():
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    with pytest.raises(Fault) as caught:
        decode(file(noise, "FLAC")[:-9000], "clip.flac")
    assert caught.value.reason in ("truncated_audio", "unreadable_audio")


def test_a_chapter_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr("stages.data.decoding.MOST_SECONDS", 0.5)
    with pytest.raises(Fault, match="cut it into sentences"):
        decode(file(), "book.wav")


@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\0\0\0\0"])
def test_a_stream_that_does_not_know_its_length_is_read_to_its_end(size):
    data = file()
    at = data.index(b"data")
    found = decode(data[:4] + size + data[8 : at + 4] + size + data[at + 8 :], "pipe.wav")
    assert len(found.samples) == RATE and "open_length" in found.notes


def test_channels_are_averaged_unless_they_cancel():
    stereo = decode(file(np.stack([TONE, 0.5 * TONE], axis=1)), "a.wav")
    assert stereo.notes == ("mixed",) and stereo.channels == 2
    assert np.abs(stereo.samples - 0.75 * TONE).max() < 1e-4
    opposite = decode(file(np.stack([TONE, -0.9 * TONE], axis=1)), "a.wav")
    assert opposite.notes == ("one_channel",) and np.abs(opposite.samples - TONE).max() < 1e-4
    one_side = decode(file(np.stack([TONE, 0 * TONE], axis=1)), "a.wav")
    assert one_side.notes == ("mixed",)


def test_8_bit_full_scale_counts_as_clipped():
    hard = np.clip(8 * TONE, -1, 1)
    assert decode(file(hard, subtype="PCM_U8"), "a.wav").clipped > 0.5
    assert decode(file(hard), "a.wav").clipped > 0.5
    assert decode(file(), "a.wav").clipped == 0
