"""Anyone's audio: a folder of sound files as a system, one file a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.core.audio import AudioError, read_audio
from stages.core.config import ConfigError
from stages.core.types import Audio
from stages.evaluation.bench import Bench, Clip, Output, Sentence, sounding
from stages.evaluation.intelligibility import normalise
from stages.evaluation.testset import read_list

SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
SHOWN = 5
"""names that a note lists at most"""
Match = Literal["id", "order"]


@dataclass(frozen=True)
class Paired:
    """Which file is which sentence."""

    files: tuple[Path | None, ...]
    """by sentence; None = there is no file"""
    names: tuple[str, ...]
    """the file's name without its ending that was looked for, by sentence"""
    notes: tuple[str, ...] = ()


def pair(folder: str, sentences: Sequence[Sentence], metadata: str = "", match: str = "id") -> Paired:
    """Finds every sentence's file by its id, by the text that `metadata` gives for a file, or by the order of names.

    Files of no sentence and sentences of no file are named in the notes; names come from the folder's listing alone.

    Raises:
        ConfigError: no such folder, no sound in it, two files of one name, or an order that cannot be told.
    """
    found = _sounds(folder)
    if match == "order":
        return _by_order(folder, found, sentences)
    names = [s.id for s in sentences]
    notes: list[str] = []
    if metadata:
        names, notes = _names_of(metadata, sentences)
    files = tuple(found.get(name) for name in names)
    missing = [name for name, file in zip(names, files, strict=True) if file is None]
    wanted = set(names)
    extra = [path.name for name, path in found.items() if name not in wanted]
    if len(missing) == len(names):
        raise ConfigError(
            f"{folder}: none of its {len(found)} sounds (first {next(iter(found.values())).name}) is named after a "
            f"sentence (first {names[0]!r}); name metadata with id and text, or say match: order"
        )
    if missing:
        notes.append(f"no sound for {_listed(missing)}: each counts as 100 % WER")
    if extra:
        notes.append(f"sounds that belong to no sentence, not scored: {_listed(extra)}")
    return Paired(files, tuple(names), tuple(notes))


def read_folder(bench: Bench, paired: Paired) -> Output:
    """Reads the sounds at their own rates; what is missing, unreadable, empty or silent has its error in its clip."""
    clips, rates = [], Counter[int]()
    for file, name in zip(paired.files, paired.names, strict=True):
        clip = Clip(None, f"there is no sound {name!r} in the folder") if file is None else _read(file)
        clips.append(clip)
        if clip.audio is not None:
            rates[clip.audio.sample_rate] += 1
        bench.advance(1)
    notes = list(paired.notes)
    silent = [name for name, clip in zip(paired.names, clips, strict=True) if clip.error and "silent" in clip.error]
    broken = [n for n, c, f in zip(paired.names, clips, paired.files, strict=True) if f and c.error and n not in silent]
    if silent:
        notes.append(f"silent: {_listed(silent)}: each counts as 100 % WER")
    if broken:
        notes.append(f"cannot be read or empty: {_listed(broken)}: each counts as 100 % WER")
    if len(rates) > 1:
        said = ", ".join(f"{count} at {rate} Hz" for rate, count in rates.most_common())
        notes.append(f"sample rates differ: {said}")
    return Output(clips, notes=tuple(notes))


def _read(path: Path) -> Clip:
    import soundfile

    try:
        rate = soundfile.info(str(path)).samplerate
        return sounding(Clip(Audio(read_audio(path, rate), rate)))
    except AudioError as error:
        return Clip(None, str(error))
    except (OSError, soundfile.SoundFileError, RuntimeError) as error:
        return Clip(None, f"{path}: cannot be read as sound ({' '.join(str(error).split())})")


def _sounds(folder: str) -> dict[str, Path]:
    """The sound files of a folder by name without ending, sorted."""
    try:
        paths = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in SOUNDS and p.is_file())
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read as a folder of sounds ({error.strerror})") from None
    if not paths:
        raise ConfigError(f"{folder}: holds no sound ({', '.join(SOUNDS)}); name the folder that does")
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise ConfigError(f"{folder}: {found[path.stem].name} and {path.name} have one name; keep one of them")
        found[path.stem] = path
    return found


def _by_order(folder: str, found: dict[str, Path], sentences: Sequence[Sentence]) -> Paired:
    if len(found) != len(sentences):
        raise ConfigError(
            f"{folder}: {len(found)} sounds for {len(sentences)} sentences, so their order does not say which is "
            "which; name the files after the ids, or give metadata"
        )
    return Paired(tuple(found.values()), tuple(found), ("paired with the sentences in the order of the file names",))


def _names_of(metadata: str, sentences: Sequence[Sentence]) -> tuple[list[str], list[str]]:
    """The file name of every sentence, by its text; its own id where the metadata does not know the text."""
    lines = read_list(metadata, "metadata")
    bare = [line.id for line in lines if not line.text]
    texts: dict[str, str] = {}
    for line in lines:
        if line.text:
            texts.setdefault(normalise(line.text), line.id)
    names = [texts.get(normalise(s.text), s.id) for s in sentences]
    unused = [i for t, i in texts.items() if i not in set(names)]
    notes = [f"{metadata}: no text for {_listed(bare)}, so not scored"] if bare else []
    notes += [f"{metadata}: texts that are not in the test set, not scored: {_listed(unused)}"] if unused else []
    return names, notes


def _listed(names: Sequence[str]) -> str:
    """`3 (a, b, c)`; of many, the first few."""
    more = ", …" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"
