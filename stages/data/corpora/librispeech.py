"""LibriSpeech (Panayotov et al. 2015): `<speaker>/<chapter>/<id>.flac`, and `<speaker>-<chapter>.trans.txt` beside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stages.core.config import ConfigError
from stages.data.corpora.folders import sounds_by, walk
from stages.data.corpora.rows import Rows, SourceConfig, existing_folder, settled
from stages.data.corpora.tables import read_lines
from stages.data.recording import Problem, Recording

_ENDING = ".trans.txt"


@dataclass(frozen=True)
class LibrispeechConfig(SourceConfig):
    """`configs/data/librispeech.yaml`; `path` is the corpus, or one of its parts (`train-clean-100`)."""


CorpusConfig = LibrispeechConfig


def read(config: LibrispeechConfig) -> Iterator[Recording | Problem]:
    """Every line of every transcript, then every sound that no transcript names.

    Texts are capitals without punctuation there; they come in lower case, for capitals would be read as letters.

    Raises:
        ConfigError: there is none.
    """
    folder = existing_folder(config.path, "name the folder of LibriSpeech or of one of its parts")
    rows = Rows(folder, config)
    sounds, found = sounds_by(lambda p: p.with_suffix(""), walk(folder))
    for path in walk(folder, _ENDING):
        try:
            lines = list(read_lines(path, "each line is an id and its text"))
        except ConfigError as error:
            found.append(Problem(path.name.removesuffix(_ENDING), str(path), "wrong_encoding", str(error)))
            continue
        for where, line in lines:
            name, _, text = line.strip().partition(" ")
            stem = path.parent / name
            sound = sounds.pop(stem, stem.with_suffix(".flac"))
            found.append(rows.row(where, str(sound.absolute()), text.lower(), name.split("-")[0], id=name))
    for stem, sound in sounds.items():
        detail = (
            f"the sound {sound} is in no transcript; there should be a line in {'-'.join(stem.parts[-3:-1])}{_ENDING}"
        )
        found.append(Problem(stem.name, str(sound), "missing_text", detail))
    return settled(found, folder)
