"""Corpora: one module each, with a config dataclass `CorpusConfig` and `render(config, progress) -> manifest path`.

`corpus:` in configs/data/*.yaml names the module (default: starter).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.config import ConfigError, build, merge, parse_set, read_with_base


@dataclass(frozen=True)
class CorpusJob:
    """A corpus config that has been read, and how to make what it describes."""

    config: Any
    render: Callable[..., Path]
    """render(config, progress): progress(what, done, wanted) is called now and then; resumes; returns the manifest"""


def read_corpus(path: str | Path, sets: Iterable[str] = ()) -> CorpusJob:
    """Reads a data config with its `base:` files and `--set` values. Raises ConfigError."""
    values = merge(read_with_base(path), parse_set(sets))
    name = str(values.pop("corpus", "starter"))
    module = f"{__name__}.{name}"
    if not name.isidentifier() or importlib.util.find_spec(module) is None:
        raise ConfigError(f"{path}: there is no corpus {name!r}; write stages/data/corpora/{name}.py or use starter")
    found = importlib.import_module(module)
    if not hasattr(found, "CorpusConfig"):
        raise ConfigError(f"{path}: {name!r} is no corpus (it has no CorpusConfig); use starter")
    return CorpusJob(build(found.CorpusConfig, values, str(path)), found.render)
