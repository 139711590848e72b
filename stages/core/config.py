"""Strict configuration: dataclass defaults < YAML < `--set key=value`; an unknown key is refused with the near miss."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

C = TypeVar("C")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file or key and the mend."""


def near_miss(name: str, known: typing.Iterable[str]) -> str:
    """`; did you mean 'x'?` when something known is close to `name`, else what is known (at most 20 names)."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    return f"; known: {', '.join(known[:20]) or 'none'}{more}"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML mapping with the safe loader. Raises ConfigError naming the file (and line) when it cannot."""
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: must hold a mapping of keys to values, not a {type(value).__name__}")
    return value


def build(cls: type[C], values: dict[str, Any], where: str) -> C:
    """Builds a (nested) config dataclass from plain values, checking every key and type.

    Raises:
        ConfigError: an unknown key (naming the near miss) or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}{near_miss(str(key), fields)}")
    arguments = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a mapping, got {value!r}")
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        inner = args[0] if len(args) == 2 and args[1] is Ellipsis else None
        return tuple(_convert(inner or args[i], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a mapping, got {value!r}")
        return {str(k): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ConfigError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value


def least(config: Any, value: float, *names: str) -> None:
    """Raises ValueError, for `__post_init__`, when a field of that name is below `value`."""
    for name in names:
        if not getattr(config, name) >= value:
            raise ValueError(f"{name} is {getattr(config, name):g}; give {value:g} or more")


def to_plain(config: Any) -> Any:
    """A config dataclass as plain dicts, lists and scalars (what YAML and JSON can hold)."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {k: to_plain(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_plain(v) for v in config]
    return config


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, mapping by mapping; neither is changed."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if both else value
    return out


def parse_set(assignments: typing.Iterable[str]) -> dict[str, Any]:
    """`["diffusion.steps=8"]` -> `{"diffusion": {"steps": 8}}`; values are YAML scalars or flow lists.

    Raises:
        ConfigError: no `=`, an empty key part, or a value that is not YAML.
    """
    out: dict[str, Any] = {}
    for text in assignments:
        key, equals, raw = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise ConfigError(f"--set {text!r}: write it as stage.key=value")
        try:
            value: Any = yaml.safe_load(raw)
        except yaml.YAMLError:
            raise ConfigError(f"--set {text!r}: {raw!r} is not a YAML value") from None
        for part in reversed(parts):
            value = {part: value}
        out = merge(out, value)
    return out


def load(cls: type[C], path: str | Path, sets: typing.Iterable[str] = ()) -> C:
    """Reads `path` over the defaults of `cls`, then applies `--set` assignments.

    A file may say `base: other.yaml` (relative to itself) and hold only what differs.
    """
    return build(cls, merge(read_with_base(path), parse_set(sets)), str(path))


def read_with_base(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file laid over the file or files (a list, each over the one before) that its `base:` key names."""
    values = read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    below: dict[str, Any] = {}
    for name in base if isinstance(base, list) else [base]:
        below = merge(below, read_with_base(Path(path).parent / str(name)))
    return merge(below, values)
