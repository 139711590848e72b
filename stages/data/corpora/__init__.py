"""Corpora: one module each, which `corpus:` in configs/data/*.yaml names (default: starter).

A module has a config dataclass `CorpusConfig` and one of
`read(config) -> Iterator[Recording | Problem]`: a corpus that people have, which is then cleaned and aligned, or
`render(config, progress) -> manifest path`: a corpus that is made, with its manifest.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from stages.core.config import ConfigError, build, merge, near_miss, parse_set, read_with_base
from stages.data.recording import Problem, Recording

STEPS = ("out", "workers", "audio", "clean", "split", "align")
"""keys of a config that are about what follows the reading, not about the corpus"""


@dataclass(frozen=True)
class CorpusJob:
    """A corpus config that has been read, and how to come by what it describes: `render` or `read`."""

    config: Any
    render: Callable[..., Path] | None = None
    """render(config, progress): progress(what, done, wanted) is called now and then; resumes; returns the manifest"""
    read: Callable[[Any], Iterator[Recording | Problem]] | None = None
    steps: dict[str, Any] = field(default_factory=dict)
    """what the config says under `STEPS`; empty for a corpus that is rendered"""


def read_corpus(path: str | Path, sets: Iterable[str] = ()) -> CorpusJob:
    """Reads a data config with its `base:` files and `--set` values. Raises ConfigError."""
    values = merge(read_with_base(path), parse_set(sets))
    found = _module(str(values.pop("corpus", "starter")), path)
    if hasattr(found, "render"):
        return CorpusJob(build(found.CorpusConfig, values, str(path)), render=found.render)
    steps = {key: values.pop(key) for key in STEPS if key in values}
    fields = {*found.CorpusConfig.__dataclass_fields__, *STEPS}
    for key in set(values) - fields:
        raise ConfigError(f"{path}: unknown key {key!r}{near_miss(str(key), fields)}")
    return CorpusJob(build(found.CorpusConfig, values, str(path)), read=found.read, steps=steps)


def _module(name: str, path: str | Path) -> ModuleType:
    module = f"{__name__}.{name}"
    if not name.isidentifier() or importlib.util.find_spec(module) is None:
        known = [n for n in (m.name for m in pkgutil.iter_modules(__path__)) if _is_corpus(n)]
        raise ConfigError(
            f"{path}: there is no corpus {name!r}{near_miss(name, known)} (a further one is a file in "
            f"stages/data/corpora)"
        )
    if not _is_corpus(name):
        raise ConfigError(f"{path}: {name!r} is no corpus (it has no CorpusConfig); use starter")
    return importlib.import_module(module)


def _is_corpus(name: str) -> bool:
    return hasattr(importlib.import_module(f"{__name__}.{name}"), "CorpusConfig")
