"""A sound file's bytes as mono samples, and why they are none: every fault of a file has one name and one sentence."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.data.levels import SILENCE_DB, clipped_share, decibel

MOST_SECONDS = 600.0
"""a longer file is a chapter, not an utterance, and is not decoded"""
ENDINGS = {
    "WAV": {"wav", "wave"}, "WAVEX": {"wav", "wave"}, "RF64": {"wav", "wave", "rf64"}, "FLAC": {"flac"},
    "OGG": {"ogg", "oga", "opus"}, "MP3": {"mp3"}, "AIFF": {"aif", "aiff", "aifc"}, "AU": {"au", "snd"}, "W64": {"w64"},
    "CAF": {"caf"},
}  # fmt: skip
"""libsndfile's name of a format -> endings of its files"""
NOTES = {
    "mixed": "channels were averaged",
    "one_channel": "the loudest channel was taken, for the channels cancel each other out",
    "8_bit": "8-bit samples were converted to 16 bits",
    "float": "floating-point samples were converted to 16 bits",
    "deep": "samples of 24 or 32 bits were rounded to 16 bits",
    "lossy": "the sound had been compressed with loss",
    "misnamed": "the file's name ends like one of another format; its content was read as what it is",
    "open_length": "the header does not say how long the sound is; the file was read to its end",
    "resampled": "the sound was resampled",
    "gain_limited": "the gain was limited so that no peak is cut; the clip stays quieter than the target",
    "lowered": "peaks above full scale were lowered",
    "short_loudness": "shorter than 0.4 s: its loudness is that of the whole clip, not of gated blocks",
    "no_loudness": "too quiet for a loudness (ITU-R BS.1770 gates at -70 LUFS); its level was left as it is",
}
"""What was converted or could not be done, by the name that a clip's notes hold."""
_UNKNOWN = 0xFFFFFFFF
_LOSSY = {"VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III", "ULAW", "ALAW", "GSM610", "IMA_ADPCM",
          "MS_ADPCM"}  # fmt: skip


class Fault(ValueError):
    """A file that gives no clip.

    Args:
        reason: a short stable name, e.g. `truncated_audio`.
        detail: one sentence that names the file and the mend.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Decoded:
    """A sound as its file holds it, mixed to one channel."""

    samples: np.ndarray
    """(L,) float32, full scale = 1"""
    rate: int
    channels: int
    format: str
    subtype: str
    clipped: float
    """share of the samples that are stuck at full scale, in the channel where they are most"""
    notes: tuple[str, ...]
    """keys of NOTES"""


def decode(data: bytes, name: str) -> Decoded:
    """Decodes any file that libsndfile knows.

    Args:
        data: the file's bytes.
        name: of the file, for messages and for its ending.

    Raises:
        Fault: `empty_audio`, `unreadable_audio`, `truncated_audio`, `too_long`, `not_finite` or `silent_audio`.
    """
    if not data:
        raise Fault("empty_audio", f"{name}: the file is empty; copy it again from the source")
    short = missing_bytes(data)
    if short:
        raise Fault("truncated_audio", f"{name}: the header promises {short} bytes more than there are; copy it again")
    channels, rate, form, subtype = _read(data, name)
    if not np.isfinite(channels).all():
        raise Fault("not_finite", f"{name}: holds samples that are not numbers; write it again from the source")
    if decibel(float(np.abs(channels - channels.mean(axis=0)).max())) < SILENCE_DB:
        raise Fault("silent_audio", f"{name}: no sample is above {SILENCE_DB:g} dB of full scale; record it again")
    mono, mixing = _mixed(channels)
    ceiling = 0.992 if subtype in ("PCM_U8", "PCM_S8") else 0.999
    notes = (*mixing, *_about(data, name, form, subtype))
    return Decoded(mono, rate, channels.shape[1], form, subtype, clipped_share(channels, ceiling), notes)


def missing_bytes(data: bytes) -> int:
    """How many bytes of a WAV file's samples are missing; 0 for other formats and where the header does not say.

    libsndfile reads a WAV file that was cut off without a word.
    """
    at = _data_chunk(data)
    if at is None:
        return 0
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    return 0 if _open_length(data) else max(at + 8 + size - len(data), 0)


def _data_chunk(data: bytes) -> int | None:
    """Where a RIFF file's chunk of samples starts."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] == b"data":
            return at
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return None


def _ends(data: bytes) -> bool:
    """Whether the last page of an Ogg file is whole and says that it is the last (RFC 3533, section 6)."""
    page = data[max(data.rfind(b"OggS"), 0) :]
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return False
    return bool(page[5] & 4)


def _read(data: bytes, name: str) -> tuple[np.ndarray, int, str, str]:
    """(L, C) float32, rate, format, subtype."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(_closed(data))) as file:
            seconds = file.frames / file.samplerate
            if seconds > MOST_SECONDS and not _open_length(data):
                raise Fault("too_long", f"{name}: lasts {seconds:.0f} s; cut it into sentences first")
            promised = file.frames
            samples = file.read(int(MOST_SECONDS * file.samplerate) + 1, dtype="float32", always_2d=True)
            rate, form, subtype = file.samplerate, file.format, file.subtype
    except (OSError, RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        if isinstance(error, Fault):
            raise
        raise Fault(
            "unreadable_audio", f"{name}: cannot be read as sound ({_plain(error)}); give a wav, flac, ogg or mp3 file"
        ) from None
    if (len(samples) < promised and not _open_length(data)) or (form == "OGG" and not _ends(data)):
        raise Fault("truncated_audio", f"{name}: the sound stops before its end; copy it again from the source")
    if len(samples) == 0:
        raise Fault("empty_audio", f"{name}: holds no samples; copy it again from the source")
    if len(samples) > MOST_SECONDS * rate:
        raise Fault("too_long", f"{name}: lasts more than {MOST_SECONDS:.0f} s; cut it into sentences first")
    return samples, rate, form, subtype


def _plain(error: Exception) -> str:
    """An error of libsndfile without the address of the buffer."""
    text = getattr(error, "error_string", None) or str(error) or type(error).__name__
    return str(text).strip().rstrip(".")


def _open_length(data: bytes) -> bool:
    """Whether a WAV file was written to a pipe: its writer could not go back to fill in the lengths."""
    at = _data_chunk(data)
    if at is None:
        return False
    size, whole = (int.from_bytes(data[i : i + 4], "little") for i in (at + 4, 4))
    return size == _UNKNOWN or (size == 0 and whole in (0, at, _UNKNOWN))


def _closed(data: bytes) -> bytes:
    """The file with its length filled in where the header says 0, which libsndfile takes at its word."""
    at = _data_chunk(data)
    if at is None or not _open_length(data):
        return data
    return data[: at + 4] + min(len(data) - at - 8, _UNKNOWN - 1).to_bytes(4, "little") + data[at + 8 :]


def _mixed(channels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """(L, C) as (L,): their mean, or the loudest one when the mean has lost more than 6 dB to opposite phases."""
    if channels.shape[1] == 1:
        return np.ascontiguousarray(channels[:, 0]), ()
    power = np.square(channels, dtype=np.float64).mean(axis=0)
    mean = channels.mean(axis=1, dtype=np.float32)
    kept = float(np.square(mean, dtype=np.float64).mean())
    uncorrelated = float(power.sum()) / channels.shape[1] ** 2
    if kept < uncorrelated / 4:
        return np.ascontiguousarray(channels[:, int(power.argmax())]), ("one_channel",)
    return mean, ("mixed",)


def _about(data: bytes, name: str, form: str, subtype: str) -> list[str]:
    """Names of what is unusual about a file that can be read."""
    found = []
    if subtype in ("PCM_U8", "PCM_S8"):
        found.append("8_bit")
    elif subtype in ("FLOAT", "DOUBLE"):
        found.append("float")
    elif subtype in ("PCM_24", "PCM_32"):
        found.append("deep")
    elif subtype in _LOSSY:
        found.append("lossy")
    ending = Path(name).suffix.lower().lstrip(".")
    others = set().union(*ENDINGS.values())
    if form in ENDINGS and ending in others - ENDINGS[form]:
        found.append("misnamed")
    if _open_length(data):
        found.append("open_length")
    return found
