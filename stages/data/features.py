"""Features of a corpus, computed once: mel, waveform, pitch and phones of every utterance in flat memory-mapped arrays.

The folder's name carries the digest of what it was made from, so features of another manifest or AudioSpec are never
picked up.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core import symbols
from stages.core.audio import AudioSpec, mel_spectrogram, read_audio
from stages.core.config import to_plain
from stages.core.fingerprint import digest, file_digest
from stages.data.manifest import Utterance, read_manifest

VERSION = 1
PITCH_RANGE = (60.0, 400.0)
"""Hz; what the pitch tracker looks for"""


@dataclass(frozen=True)
class Corpus:
    """Flat arrays of all utterances; row i owns frames[i]:frames[i + 1], samples and phones likewise."""

    folder: Path
    ids: list[str]
    texts: list[str]
    speakers: list[str]
    speaker_of: np.ndarray  # (U,) int64 index into `speakers`
    frame_start: np.ndarray  # (U + 1,) int64
    phone_start: np.ndarray  # (U + 1,) int64
    mel: np.ndarray  # (sum T, M) float16
    audio: np.ndarray  # (sum T * hop,) int16
    pitch: np.ndarray  # (sum T,) float16, Hz, 0 = no steady pitch
    phones: np.ndarray  # (sum P,) int16 symbol ids
    phone_end: np.ndarray  # (sum P,) float32 seconds
    spec: AudioSpec

    def __len__(self) -> int:
        return len(self.ids)

    def frames_of(self, i: int) -> slice:
        """Frame range of utterance i."""
        return slice(int(self.frame_start[i]), int(self.frame_start[i + 1]))

    def phones_of(self, i: int) -> slice:
        """Phone range of utterance i."""
        return slice(int(self.phone_start[i]), int(self.phone_start[i + 1]))

    @property
    def lengths(self) -> np.ndarray:
        """(U,) mel frames."""
        return np.diff(self.frame_start)


def steady_pitch(samples: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """Pitch by YIN (de Cheveigné & Kawahara 2002, librosa): (T,) Hz, 0 where unsteady, at a limit or quiet."""
    import librosa

    frames = spec.frames(len(samples))
    window = 1024 * spec.sample_rate // 16000
    padded = np.pad(samples, (0, frames * spec.hop - len(samples) + window))
    shifted = np.pad(padded, (spec.hop // 2, 0))  # yin centres frame t on t * hop; the mel on t * hop + hop / 2
    f0 = librosa.yin(
        shifted[spec.hop :],
        fmin=PITCH_RANGE[0],
        fmax=PITCH_RANGE[1],
        sr=spec.sample_rate,
        frame_length=window,
        hop_length=spec.hop,
    )[:frames]
    level = np.sqrt(np.mean(padded[: frames * spec.hop].reshape(frames, spec.hop) ** 2, axis=1))
    change = np.abs(np.diff(np.log(f0), prepend=np.log(f0[0])))
    steady = np.minimum(change, np.roll(change, -1)) < 0.06
    inside = (f0 > PITCH_RANGE[0] * 1.05) & (f0 < PITCH_RANGE[1] * 0.97)
    return np.where(steady & inside & (level > 0.01), f0, 0.0).astype(np.float16)


def _features(item: Utterance, spec: AudioSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import torch

    samples = read_audio(item.audio, spec.sample_rate)
    frames = spec.frames(len(samples))
    samples = np.pad(samples, (0, frames * spec.hop - len(samples)))
    with torch.inference_mode():
        mel = mel_spectrogram(torch.from_numpy(samples), spec).T.numpy().astype(np.float16)
    return mel, (samples * 32767).astype(np.int16), steady_pitch(samples, spec)


def build_features(
    manifest: str | Path, spec: AudioSpec, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Computes the features of a manifest beside it, or finds them done; returns their folder."""
    manifest = Path(manifest)
    key = digest([VERSION, file_digest(manifest), to_plain(spec), symbols.DIGEST])
    folder = manifest.parent / f"features-{key[:16]}"
    if folder.exists():
        return folder
    rows = read_manifest(manifest)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    starts, done = [0], 0
    with (
        ThreadPoolExecutor(workers) as pool,
        open(partial / "mel.f16", "wb") as mels,
        open(partial / "audio.i16", "wb") as audios,
        open(partial / "pitch.f16", "wb") as pitches,
    ):
        for block in range(0, len(rows), 256):
            for mel, audio, pitch in pool.map(lambda r: _features(r, spec), rows[block : block + 256]):
                mels.write(mel.tobytes())
                audios.write(audio.tobytes())
                pitches.write(pitch.tobytes())
                starts.append(starts[-1] + len(mel))
                done += 1
            if progress:
                progress(done, len(rows))
    speakers = sorted({r.speaker for r in rows})
    np.savez(
        partial / "index.npz",
        frame_start=np.array(starts),
        phone_start=np.cumsum([0] + [len(r.phones) for r in rows]),
        phones=np.array([i for r in rows for i in symbols.ids([p for p, _ in r.phones])], dtype=np.int16),
        phone_end=np.array([end for r in rows for _, end in r.phones], dtype=np.float32),
        speaker_of=np.array([speakers.index(r.speaker) for r in rows]),
    )
    names = {
        "ids": [r.id for r in rows],
        "texts": [r.text for r in rows],
        "speakers": speakers,
        "spec": to_plain(spec),
        "digest": key,
    }
    (partial / "index.json").write_text(json.dumps(names), encoding="utf-8")
    os.rename(partial, folder)
    return folder


def load_features(folder: str | Path) -> Corpus:
    """Opens a features folder; big arrays stay on disk."""
    folder = Path(folder)
    names = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    spec = AudioSpec(**names["spec"])
    with np.load(folder / "index.npz", allow_pickle=False) as index:
        arrays = {k: index[k] for k in index.files}
    frames = int(arrays["frame_start"][-1])
    return Corpus(
        folder=folder,
        ids=names["ids"],
        texts=names["texts"],
        speakers=names["speakers"],
        spec=spec,
        mel=np.memmap(folder / "mel.f16", np.float16, "r", shape=(frames, spec.n_mels)),
        audio=np.memmap(folder / "audio.i16", np.int16, "r", shape=(frames * spec.hop,)),
        pitch=np.memmap(folder / "pitch.f16", np.float16, "r", shape=(frames,)),
        **arrays,
    )
