"""Which training needs which, and what of a set of trainings is to be done again.

A node is a training config. It needs the nodes whose checkpoint its `objective` or `init_from` names. Two digests say
where it stands: its *identity* covers all that decides what is learnt (config, data, inputs, code), its *key* also how
long. `node.json` in the run's folder keeps both. A run whose identity has changed is moved aside under a name of its
own, never deleted, and moved back when its config comes back.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.core import checkpoint, files, symbols
from stages.core.config import ConfigError, near_miss, to_plain
from stages.core.fingerprint import digest, file_digest
from stages.training import resume
from stages.training.run import OBJECTIVES, TrainingRun, objective_values, read_run, training_version

FACTS = "node.json"
CONFIGS = Path("configs/train")
DEFAULT = "starter"
"""the folder of CONFIGS that `all` means, and where a name that several folders have is looked up"""
DONE, GOES_ON, FRESH, CHANGED = "done", "goes on", "to train", "changed"
LENGTH = ("steps", "decay_share", "lr_floor")
"""keys of `trainer:` that a run may change in its folder, and that change what comes of it"""


@dataclass(frozen=True)
class Node:
    """A training config and the configs that come before it."""

    path: str
    run: TrainingRun
    needs: dict[str, str] = field(default_factory=dict)
    """by config key that names a checkpoint: path of the node that makes it"""

    @property
    def name(self) -> str:
        """The config's file name without its ending."""
        return Path(self.path).stem

    @property
    def checkpoint(self) -> str:
        """Where its weights will be."""
        return f"{self.run.folder}/checkpoint"


@dataclass(frozen=True)
class Stand:
    """Where a node stands: `state` is one of DONE, GOES_ON, FRESH, CHANGED."""

    state: str
    identity: str
    key: str
    facts: dict[str, Any] = field(default_factory=dict)
    """what node.json holds"""


def find(targets: Sequence[str]) -> list[Path]:
    """Config files of what `caretta train` was given: files, folders, names (`codes`, `8gb/codes`, `8gb`) or `all`.

    Raises:
        ConfigError: a name that is no config (the near miss is named), or a folder without one.
    """
    out: list[Path] = []
    for target in targets:
        path = Path(target)
        if not path.exists() and path.suffix not in (".yaml", ".yml"):
            path = _named(target)
        found = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not found:
            raise ConfigError(f"{path}: holds no .yaml file; name a training config or a folder of them")
        out += found
    return list(dict.fromkeys(out))


def _named(name: str) -> Path:
    root = checkpoint.locate(CONFIGS)
    if name == "all":
        return root / DEFAULT
    known = {str(p.relative_to(root).with_suffix("")): p for p in sorted(root.glob("*/*.yaml"))}
    known |= {p.parent.name: p.parent for p in known.values()}
    for candidate in (name, f"{DEFAULT}/{name}"):
        if candidate in known:
            return known[candidate]
    matches = [k for k in known if k.endswith(f"/{name}")]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise ConfigError(f"{name}: several trainings have that name ({', '.join(matches)}); name the folder too")
    short = [k.removeprefix(f"{DEFAULT}/") for k in known]
    raise ConfigError(f"{name}: no such training config under {CONFIGS}{near_miss(name, ['all', *short])}")


def read(configs: Sequence[str | Path], sets: Sequence[str] = ()) -> list[Node]:
    """Nodes in an order in which each comes after what it needs; among equals in that of the models.

    Raises:
        ConfigError: a config that cannot be read, two that train in one folder, or a circle.
    """
    runs = {str(path): read_run(path, list(sets)) for path in configs}
    owners: dict[str, str] = {}
    for path, run in runs.items():
        place = os.path.normpath(run.folder)
        if place in owners:
            raise ConfigError(f"{path}: trains in {run.folder}, and so does {owners[place]}; give one another folder")
        owners[place] = path
    left = {}
    for path, run in runs.items():
        makers = {key: owners.get(os.path.normpath(Path(folder).parent)) for key, folder in inputs(run).items()}
        left[path] = Node(path, run, {key: maker for key, maker in makers.items() if maker is not None})
    out: list[Node] = []
    models = list(OBJECTIVES)
    while left:
        done = {node.path for node in out}
        ready = [node for node in left.values() if done.issuperset(node.needs.values())]
        if not ready:
            raise ConfigError(f"{' and '.join(sorted(left))} need each other; let one start from another checkpoint")
        out.append(left.pop(min(ready, key=lambda node: (models.index(node.run.model), node.path)).path))
    return out


def inputs(run: TrainingRun) -> dict[str, str]:
    """Checkpoint folders that a run reads, by the config key that names them."""
    found: dict[str, str] = {"init_from": run.init_from} if run.init_from else {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, f"{key}.{name}")
        elif isinstance(value, str) and _is_checkpoint(value):
            found[key] = value

    walk(objective_values(run), "objective")
    return found


def _is_checkpoint(text: str) -> bool:
    return Path(text).name == "checkpoint" or (checkpoint.locate(text) / checkpoint.META).is_file()


def stand(node: Node, before: dict[str, Stand]) -> Stand:
    """Where a node stands, given where those stand that it needs.

    Raises:
        ConfigError: no corpus where its config says. CheckpointError: an input that is not there.
    """
    identity = _identity(node, before)
    length = {k: v for k, v in to_plain(node.run.trainer).items() if k in LENGTH}
    key = digest([identity, length])
    folder = Path(node.run.folder)
    facts = read_facts(folder)
    if not facts:
        return Stand(GOES_ON if begun_by_hand(folder) else FRESH, identity, key)
    if facts.get("identity") != identity:
        return Stand(CHANGED, identity, key, facts)
    whole = facts.get("key") == key and facts.get("checkpoint") == _weights(folder / "checkpoint")
    return Stand(DONE if whole else GOES_ON, identity, key, facts)


def _identity(node: Node, before: dict[str, Stand]) -> str:
    run = node.run
    read_from = {
        key: before[node.needs[key]].key if key in node.needs else checkpoint.checkpoint_digest(folder)
        for key, folder in inputs(run).items()
    }
    try:
        data = file_digest(run.manifest)
    except OSError as error:
        raise ConfigError(
            f"{run.manifest}: cannot be read ({error.strerror}); make it with `caretta prepare`"
        ) from None
    values = _without(objective_values(run))
    bare = to_plain(replace(run, folder="", manifest="", init_from="", evaluate="", objective=values))
    return digest([training_version(run.model), resume.identity(bare), data, symbols.DIGEST, read_from])


def _without(value: Any) -> Any:
    """An objective's values without the checkpoint folders in it: their content counts, not where they lie."""
    if isinstance(value, dict):
        return {k: _without(v) for k, v in value.items() if not (isinstance(v, str) and _is_checkpoint(v))}
    return value


def begun_by_hand(folder: Path) -> bool:
    """Whether a run without node.json is there: `python -m stages.training.run` leaves such."""
    return (folder / resume.FOLDER).is_dir()


def _weights(folder: Path) -> str | None:
    checkpoint.recover(folder)
    try:
        return checkpoint.checkpoint_digest(folder)
    except checkpoint.CheckpointError:
        return None


def read_facts(folder: Path) -> dict[str, Any]:
    """node.json of a run's folder; empty when there is none. Raises ConfigError when it is damaged."""
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); delete that file and train again") from None
    if not isinstance(facts, dict):
        raise ConfigError(f"{path}: must hold a JSON object; delete that file and train again")
    return facts


def make_room(node: Node, stand: Stand) -> str | None:
    """Prepares a node's folder for `stand`; returns a sentence when a run was moved.

    A changed run goes to `FOLDER-IDENTITY8`; a run of the wanted identity that was moved there comes back.
    """
    folder, said = Path(node.run.folder), None
    if stand.state == CHANGED:
        kept = _aside(folder, str(stand.facts.get("identity", "unknown")))
        os.rename(folder, kept)
        files.sync_folder(folder.parent)
        said = f"{node.name}: what it is made from has changed; the older run is kept in {kept}"
    own = folder.with_name(f"{folder.name}-{stand.identity[:8]}")
    if not folder.exists() and read_facts(own).get("identity") == stand.identity:
        os.rename(own, folder)
        return f"{said or node.name + ':'}; {own} is taken up again"
    return said


def _aside(folder: Path, identity: str) -> Path:
    name, number = folder.with_name(f"{folder.name}-{identity[:8]}"), 1
    while name.exists():
        number += 1
        name = folder.with_name(f"{folder.name}-{identity[:8]}-{number}")
    return name


def begin(node: Node, stand: Stand) -> None:
    """Notes in node.json what a run is, once its trainer has taken the folder."""
    folder = Path(node.run.folder)
    write_facts(folder, {**read_facts(folder), "identity": stand.identity, "config": node.path})


def finish(node: Node, stand: Stand, metrics: dict[str, float]) -> None:
    """Notes in node.json that a node is trained."""
    folder = Path(node.run.folder)
    done = {"identity": stand.identity, "key": stand.key, "config": node.path, "metrics": metrics}
    write_facts(folder, {**done, "checkpoint": _weights(folder / "checkpoint")})


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Writes node.json, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{FACTS}.{os.getpid()}.partial"
    partial.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, folder / FACTS)


@contextmanager
def holding(folder: str | Path) -> Iterator[None]:
    """The sole right to train in a folder. Raises ConfigError while another process has it."""
    place = Path(folder).with_name(f".{Path(folder).name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder}: another process trains there; wait for it, or name another folder with --set folder=…"
            ) from None
        yield
