"""Features of a corpus: mel, waveform, pitch, energy and phones of every utterance in flat memory-mapped arrays.

Each utterance is computed once: its mel, pitch and energy lie in an artifact store beside the manifest, by digest of
its sound file and AudioSpec; the flat arrays are put together from there. Their folder's name carries the digest of
what it was made from, so features of another manifest, sound or AudioSpec are never picked up.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core import symbols
from stages.core.artifacts import ArtifactStore
from stages.core.audio import AudioError, AudioSpec, mel_spectrogram, read_audio
from stages.core.checkpoint import replace_folder
from stages.core.codecs import Arrays
from stages.core.config import ConfigError, to_plain
from stages.core.files import sync_folder
from stages.core.fingerprint import digest, file_digest
from stages.core.storage import Claim
from stages.data.manifest import Utterance, read_manifest
from stages.data.pool import FEW, in_chunks
from stages.data.sounds import Sound, scan

VERSION = 2
PITCH_RANGE = (60.0, 400.0)
"""Hz; what the pitch tracker looks for"""
QUIET = 1e-5
"""RMS below this is raised to it: -100 dB"""
STORE = "utterances"
"""folder of the store beside a manifest"""
CHUNK = 32
"""utterances that a worker takes at a time and stores with one commit"""
SLACK = 0.02
"""s by which a sound may be longer or shorter than its manifest row says"""
FLAT = {"mel": "mel.f16", "audio": "audio.i16", "pitch": "pitch.f16", "energy": "energy.f16"}
"""files of the flat arrays"""


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
    languages: list[str]
    language_of: np.ndarray  # (U,) int64 index into `languages`
    energy: np.ndarray | None = None  # (sum T,) float16, dB of full scale; None in folders of version 1

    def __len__(self) -> int:
        return len(self.ids)

    def frames_of(self, i: int) -> slice:
        """Frame range of utterance i."""
        return slice(int(self.frame_start[i]), int(self.frame_start[i + 1]))

    def samples_of(self, i: int) -> slice:
        """Sample range of utterance i, whole frames."""
        frames = self.frames_of(i)
        return slice(frames.start * self.spec.hop, frames.stop * self.spec.hop)

    def phones_of(self, i: int) -> slice:
        """Phone range of utterance i."""
        return slice(int(self.phone_start[i]), int(self.phone_start[i + 1]))

    def durations_of(self, i: int) -> np.ndarray:
        """(P,) frames of each phone of utterance i; see `frame_durations`."""
        return frame_durations(self.phone_end[self.phones_of(i)], int(self.lengths[i]), self.spec.frame_rate)

    @property
    def lengths(self) -> np.ndarray:
        """(U,) mel frames."""
        return np.diff(self.frame_start)


def frame_durations(ends: np.ndarray, frames: int, frame_rate: float) -> np.ndarray:
    """(P,) int64 frames whose middle lies in each phone, from phone ends (P,) in seconds; they sum to `frames`.

    What is past the last end belongs to the last phone; a phone between two middles has none.
    """
    if not len(ends):
        return np.zeros(0, np.int64)
    middle = (np.arange(frames) + 0.5) / frame_rate
    place = np.searchsorted(ends, middle, side="right").clip(0, len(ends) - 1)
    return np.bincount(place, minlength=len(ends))


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


def frame_energy(samples: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """RMS of each frame's own samples in dB of full scale: (T * hop,) -> (T,) float16, at least -100."""
    rms = np.sqrt(np.mean(samples.reshape(-1, spec.hop).astype(np.float64) ** 2, axis=1))
    return (20 * np.log10(np.maximum(rms, QUIET))).astype(np.float16)


def utterance_features(samples: np.ndarray, spec: AudioSpec) -> Arrays:
    """Samples (T * hop,) -> `mel` (T, M), `pitch` (T,) and `energy` (T,), float16."""
    import torch

    with torch.inference_mode():
        mel = mel_spectrogram(torch.from_numpy(samples), spec).T.numpy().astype(np.float16)
    return {"mel": mel, "pitch": steady_pitch(samples, spec), "energy": frame_energy(samples, spec)}


@dataclass(frozen=True)
class _Job:
    """One utterance and its place in the flat arrays."""

    id: str
    audio: Path
    sound: Sound
    start: int
    """its first frame"""
    key: str
    """of its features in the store"""


def build_features(
    manifest: str | Path,
    spec: AudioSpec,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    store: ArtifactStore | None = None,
) -> Path:
    """Computes the features of a manifest beside it, or finds them done; returns their folder.

    Utterances that the store has are not computed again. Any number of processes may do this at once.

    Args:
        progress: told (utterances done, utterances).
        store: of single utterances; None = the folder `utterances` beside the manifest.

    Raises:
        ConfigError: a row that cannot be used; it is named. AudioError: a sound file that cannot be read.
        StoreError: the store cannot be written.
    """
    manifest = Path(manifest)
    rows = read_manifest(manifest)
    sounds = scan([row.audio for row in rows], manifest.parent, workers)
    heard = digest([sound.digest for sound in sounds])
    key = digest([VERSION, file_digest(manifest), heard, to_plain(spec), symbols.DIGEST])
    folder = manifest.parent / f"features-{key[:16]}"
    if folder.exists():
        return folder
    phones = _check(manifest, rows, sounds, spec)
    store = store or ArtifactStore(manifest.parent / STORE)
    claim = _claim(store, key, folder)
    if claim is None:
        return folder
    with claim:
        if not folder.exists():
            _assemble(folder, rows, sounds, phones, spec, store, workers, progress, key)
    return folder


def _claim(store: ArtifactStore, key: str, folder: Path) -> Claim | None:
    """The right to make `folder`; None when another process has made it meanwhile."""
    while (claim := store.claim(key)) is None:
        if folder.exists():
            return None
        time.sleep(0.2)
    return claim


def _check(manifest: Path, rows: Sequence[Utterance], sounds: Sequence[Sound], spec: AudioSpec) -> list[list[int]]:
    """Symbol ids of each row. Raises ConfigError naming the first row that does not fit its sound or the models."""
    out = []
    for number, (row, sound) in enumerate(zip(rows, sounds, strict=True), 1):
        where = f"{manifest}:{number}: {row.id}"
        if sound.rate != spec.sample_rate:
            raise ConfigError(
                f"{where}: {row.audio} has {sound.rate} samples per second, the AudioSpec {spec.sample_rate}; "
                f"prepare the corpus with clean.sample_rate={spec.sample_rate}"
            )
        seconds = sound.samples / sound.rate
        if not abs(seconds - row.duration) <= SLACK or not sound.samples:
            raise ConfigError(
                f"{where}: {row.audio} lasts {seconds:.3f} s, the manifest says {row.duration:.3f} s: it was changed "
                "since; prepare the corpus again"
            )
        try:
            out.append(symbols.ids([phone for phone, _ in row.phones]))
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
    return out


def _assemble(
    folder: Path,
    rows: Sequence[Utterance],
    sounds: Sequence[Sound],
    phones: list[list[int]],
    spec: AudioSpec,
    store: ArtifactStore,
    workers: int,
    progress: Callable[[int, int], None] | None,
    key: str,
) -> None:
    """Writes the folder, whole or not at all."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    starts = np.cumsum([0] + [spec.frames(sound.samples) for sound in sounds])
    for name, file in FLAT.items():
        with open(partial / file, "wb") as flat:
            flat.truncate(int(starts[-1]) * _frame_bytes(name, spec))
    jobs = [
        _Job(row.id, row.audio, sound, start, digest(["features", VERSION, sound.digest, spec.digest]))
        for row, sound, start in zip(rows, sounds, starts.tolist(), strict=False)
    ]
    missing = len(jobs) - len(store.present(job.key for job in jobs))
    workers = workers if missing > FEW else 1  # what is there is copied before other processes have started
    for _ in in_chunks(_fill, (partial, spec, store), jobs, workers, CHUNK, progress):
        pass
    _write_index(partial, rows, phones, starts, spec, key)
    replace_folder(partial, folder)
    sync_folder(folder.parent)


def _frame_bytes(name: str, spec: AudioSpec) -> int:
    return 2 * {"mel": spec.n_mels, "audio": spec.hop}.get(name, 1)


def _fill(partial: Path, spec: AudioSpec, store: ArtifactStore, jobs: Sequence[_Job]) -> list[None]:
    """Puts neighbouring utterances into the flat files: features from the store, or computed and stored."""
    made: dict[str, tuple[Arrays, dict[str, object]]] = {}
    parts: dict[str, list[bytes]] = {name: [] for name in FLAT}
    for job in jobs:
        samples = _samples(job, spec)
        arrays = made[job.key][0] if job.key in made else _stored(store, job, spec)
        if arrays is None:
            if file_digest(job.audio) != job.sound.digest:
                raise ConfigError(f"{job.id}: {job.audio} was changed while it was read; prepare the corpus again")
            arrays = utterance_features(samples, spec)
            made[job.key] = arrays, {"type": "Features"}
        for name, array in (arrays | {"audio": (samples * 32767).astype(np.int16)}).items():
            parts[name].append(array.tobytes())
    if made:
        store.write_many(made)
    for name, file in FLAT.items():
        with open(partial / file, "r+b") as flat:
            flat.seek(jobs[0].start * _frame_bytes(name, spec))
            flat.write(b"".join(parts[name]))
    return [None] * len(jobs)


def _samples(job: _Job, spec: AudioSpec) -> np.ndarray:
    """(T * hop,) the sound, filled up with zeros. Raises AudioError."""
    samples = read_audio(job.audio, spec.sample_rate)
    if len(samples) != job.sound.samples:
        raise AudioError(
            f"{job.audio}: holds {len(samples)} samples, its header says {job.sound.samples}; "
            "write it again as wav or flac"
        )
    return np.pad(samples, (0, -len(samples) % spec.hop))


def _stored(store: ArtifactStore, job: _Job, spec: AudioSpec) -> Arrays | None:
    entry, frames = store.read(job.key), spec.frames(job.sound.samples)
    shapes = {"mel": (frames, spec.n_mels), "pitch": (frames,), "energy": (frames,)}
    if entry is None or {name: array.shape for name, array in entry[0].items()} != shapes:
        return None
    return entry[0]


def _write_index(
    folder: Path, rows: Sequence[Utterance], phones: list[list[int]], starts: np.ndarray, spec: AudioSpec, key: str
) -> None:
    speakers = sorted({row.speaker for row in rows})
    languages = sorted({row.language for row in rows})
    number = {speaker: n for n, speaker in enumerate(speakers)}
    np.savez(
        folder / "index.npz",
        frame_start=starts,
        phone_start=np.cumsum([0] + [len(row) for row in phones]),
        phones=np.array([symbol for row in phones for symbol in row], dtype=np.int16),
        phone_end=np.array([end for row in rows for _, end in row.phones], dtype=np.float32),
        speaker_of=np.array([number[row.speaker] for row in rows]),
        language_of=np.array([languages.index(row.language) for row in rows]),
    )
    names = {
        "ids": [row.id for row in rows],
        "texts": [row.text for row in rows],
        "speakers": speakers,
        "languages": languages,
        "spec": to_plain(spec),
        "digest": key,
    }
    (folder / "index.json").write_text(json.dumps(names), encoding="utf-8")


def load_features(folder: str | Path) -> Corpus:
    """Opens a features folder; big arrays stay on disk. Raises ConfigError when it is not one or not whole."""
    folder = Path(folder)
    try:
        names = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        spec = AudioSpec(**names["spec"])
        with np.load(folder / "index.npz", allow_pickle=False) as index:
            arrays = {k: index[k] for k in index.files}
        frames = int(arrays["frame_start"][-1])
        # folders of before languages were told apart: of a time when English was all there was
        language_of = arrays.pop("language_of", np.zeros(len(names["ids"]), np.int64))
        energy = folder / FLAT["energy"]
        return Corpus(
            folder=folder,
            ids=names["ids"],
            texts=names["texts"],
            speakers=names["speakers"],
            languages=names.get("languages", ["en"]),
            language_of=language_of,
            spec=spec,
            mel=np.memmap(folder / FLAT["mel"], np.float16, "r", shape=(frames, spec.n_mels)),
            audio=np.memmap(folder / FLAT["audio"], np.int16, "r", shape=(frames * spec.hop,)),
            pitch=np.memmap(folder / FLAT["pitch"], np.float16, "r", shape=(frames,)),
            energy=np.memmap(energy, np.float16, "r", shape=(frames,)) if energy.exists() else None,
            **arrays,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{folder}: no whole features folder ({reason}); run `caretta prepare` again") from None
