"""Routes: which stages, in which order, with which configuration; checked before any work and without importing torch.

A route is `configs/synthesize/NAME.yaml`: `stages` in order, a section per stage, `presets` of overrides, `pauses`,
`cache`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.core import checkpoint
from stages.core.audio import AudioSpec
from stages.core.config import ConfigError, build, merge, near_miss, parse_set, read_with_base, read_yaml, to_plain
from stages.core.fingerprint import file_digest
from stages.core.stage import StageSpec
from stages.core.types import Audio, Candidates, Pick, RankedCodes, Voice

STAGES = {
    "text": "stages.text.stage:TextStage",
    "autoregressive": "stages.autoregressive.stage:AutoregressiveStage",
    "rerank": "stages.rerank.stage:RerankStage",
    "diffusion": "stages.diffusion.stage:DiffusionStage",
    "vocoder": "stages.vocoder.stage:VocoderStage",
    "stress": "stages.text.stress.stage:StressStage",
    "bert": "stages.bert.stage:BertStage",
    "vits": "stages.vits.stage:VitsStage",
    "listen": "stages.rerank.listen.stage:ListenStage",
    "choose": "stages.rerank.choose.stage:ChooseStage",
}
"""Every stage: name -> "module:Class". A module `config` beside the class's module holds its SPEC."""
FOLLOWERS = ("listen", "choose")
"""Stages that no file names: `rerank.judges` adds them."""

ROUTES = checkpoint.ROOT / "configs" / "synthesize"
PLANNED = ("fastpitch", "melle", "gpt_mel")
"""Routes that are designed and not there yet."""
AGREE = ("audio", "codebook", "symbols")
"""Fields of meta.json that all checkpoints of a route that have them must agree on."""


@dataclass(frozen=True)
class Pauses:
    """Silence put between the pieces of a long text, beside what the models leave at the ends; seconds."""

    sentence: float = 0.20
    paragraph: float = 0.50
    title: float = 1.20
    """after the title of a chapter"""

    def __post_init__(self) -> None:
        for name, seconds in dataclasses.asdict(self).items():
            if not 0.0 <= seconds <= 60.0:
                raise ValueError(f"{name} is {seconds:g}; give 0 to 60 seconds")


@dataclass(frozen=True)
class Cache:
    """Where the artifact store is."""

    dir: str = "artifacts/cache"
    """a folder (under the current directory when relative), or a URL that fsspec knows: s3://bucket/prefix"""
    options: dict[str, Any] = field(default_factory=dict)
    """for fsspec, e.g. endpoint_url; never secrets: those come from the environment (AWS_ACCESS_KEY_ID…)"""


@dataclass(frozen=True)
class RouteFile:
    """What a route's file may hold beside the sections of its stages."""

    stages: tuple[str, ...]
    preset: str
    """the default preset"""
    presets: dict[str, dict]
    pauses: Pauses = Pauses()
    cache: Cache = Cache()
    device: str = "cpu"
    """"cpu", "cuda" (every one there is), or a list: "cuda:0,cuda:1" """
    slots: int = 1
    """tasks at once per accelerator"""
    workers: int = 0
    """tasks at once on the CPU; 0 = one per core"""
    shard: int = 0
    """sentences that go through a stage together; 0 = by the size of the corpus; no result depends on it"""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages is empty; name the stages in order")
        for name, least in (("shard", 0), ("workers", 0), ("slots", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")
        for device in self.device.split(","):
            if not re.fullmatch(r"cpu|(cuda|mps|xpu)(:\d{1,3})?", device.strip()):
                raise ValueError(f"device is {self.device!r}; give cpu, cuda, or a list such as cuda:0,cuda:1")


@dataclass(frozen=True)
class Node:
    """One stage of a route."""

    spec: StageSpec
    config: Any
    target: str
    """"module:Class" """
    follows: bool = False
    """put at the end of the route by another stage's configuration"""

    @functools.cached_property
    def key_config(self) -> dict[str, Any]:
        """The part of the configuration that can change a result, with weights and files by content instead of path.

        Raises:
            CheckpointError, ConfigError: weights or a file that cannot be read.
        """
        plain = {k: v for k, v in to_plain(self.config).items() if k not in self.spec.result_free}
        for name in self.spec.files:
            if plain.get(name):
                plain[name] = _content(f"{self.spec.name}.{name}", plain[name])
        plain |= self.spec.content(self.config) if self.spec.content else {}
        return {k: v for k, v in plain.items() if k not in self.checkpoints}

    @functools.cached_property
    def checkpoints(self) -> dict[str, str]:
        """Config field -> folder of weights, for every field that names one."""
        plain = to_plain(self.config)
        return {k: v for k, v in plain.items() if (k == "checkpoint" or k.endswith("_checkpoint")) and v}

    @functools.cached_property
    def weights(self) -> str:
        """Digests of the weights, '' for a stage without any. Raises CheckpointError when they are not there."""
        return ",".join(f"{name}={_weights_digest(folder)}" for name, folder in sorted(self.checkpoints.items()))


@dataclass(frozen=True)
class Route:
    """A chain of stages that fits together, with its resolved configuration."""

    name: str
    preset: str
    nodes: tuple[Node, ...]
    pauses: Pauses = Pauses()
    cache: Cache = Cache()
    device: str = "cpu"
    slots: int = 1
    workers: int = 0
    shard: int = 0

    @property
    def devices(self) -> list[str]:
        """The devices by name; "cuda" stands for every one there is."""
        return [name.strip() for name in self.device.split(",")]

    @functools.cached_property
    def takes(self) -> range:
        """The stages (by index) that run once per candidate, for all are listened to; none in most routes."""
        if not self.nodes[-1].spec.gathers:
            return range(0)
        ranks = next(i for i, node in enumerate(self.nodes) if node.spec.gives is RankedCodes)
        return range(ranks + 1, len(self.nodes) - 1)

    @functools.cached_property
    def picker(self) -> int | None:
        """Index of the stage that a user's pick is given to; None when none chooses."""
        return next((i for i in reversed(range(len(self.nodes))) if Pick in self.nodes[i].spec.honours), None)

    @property
    def retries(self) -> int:
        """How often at most further candidates are sampled for a sentence that none of them is good enough for."""
        return int(self.nodes[-1].config.retries) if self.takes else 0

    def reads(self, index: int) -> tuple[type, ...]:
        """The types that the stage at `index` is given: all that it needs, and what it accepts and an earlier gives."""
        spec = self.nodes[index].spec
        given = [node.spec.gives for node in self.nodes[:index]]
        return (*spec.needs, *(kind for kind in spec.accepts if kind in given))

    def source(self, index: int, kind: type) -> int:
        """Index of the stage whose `kind` the stage at `index` reads; -1 for the text and the voice.

        Where every candidate goes on, a stage reads the candidate itself in the place of the ranked one.
        """
        if index in self.takes and kind is RankedCodes:
            kind = Candidates
        earlier = (i for i in reversed(range(index)) if self.nodes[i].spec.gives is kind)
        return next(earlier, -1)

    def plain(self) -> dict[str, Any]:
        """The resolved configuration, as written beside outputs; a route file of its own."""
        own = [node for node in self.nodes if not node.follows]
        head = {"stages": [n.spec.name for n in own], "preset": self.preset, "presets": {self.preset: {}}}
        rest = {
            "pauses": to_plain(self.pauses),
            "cache": to_plain(self.cache),
            "device": self.device,
            "slots": self.slots,
            "workers": self.workers,
            "shard": self.shard,
        }
        return head | rest | {n.spec.name: to_plain(n.config) for n in own}


def load_route(name: str = "tortoise", preset: str | None = None, sets: list[str] | tuple[str, ...] = ()) -> Route:
    """Reads a route (a name, or the path of a YAML file), lays the preset and `--set` over it, and checks that it fits.

    Raises:
        ConfigError: an unknown route, preset, stage or key (the near miss is named), or stages that do not fit.
    """
    path = _route_path(name)
    values = read_with_base(path)
    order = _stage_names(values, path)
    top = {k: v for k, v in values.items() if k not in order}
    for key in top:
        if key not in _top_keys():
            raise ConfigError(f"{path}: unknown key {key!r}{near_miss(str(key), [*_top_keys(), *order])}")
    file = build(RouteFile, top, str(path))
    preset = file.preset if preset is None else preset
    if preset not in file.presets:
        raise ConfigError(f"unknown preset {preset!r}{near_miss(preset, file.presets)}")
    given = parse_set(sets)
    _check_sections(file.presets[preset], order, f"{path}: presets.{preset}")
    _check_sections(given, [*order, "pauses", "cache", "device", "slots", "workers", "shard"], "--set")
    merged = merge(merge(values, file.presets[preset]), given)
    file = build(RouteFile, {k: v for k, v in merged.items() if k not in order}, str(path))
    nodes = _with_followers([_node(stage, merged.get(stage) or {}, str(path)) for stage in order])
    route = Route(path.stem, preset, nodes, file.pauses, file.cache, file.device, file.slots, file.workers, file.shard)
    check_chain(route)
    return route


def check_chain(route: Route) -> None:
    """Refuses stages whose types do not fit. Raises ConfigError with one sentence that names the stage and the mend."""
    known: list[type] = [str, Voice]
    for node in route.nodes:
        for kind in node.spec.needs:
            if kind not in known:
                have = ", ".join(t.__name__ for t in known)
                raise ConfigError(
                    f"route {route.name!r}: stage {node.spec.name!r} needs {kind.__name__}, but those before it give "
                    f"{have}; put a stage that gives {kind.__name__} before it"
                )
        known.append(node.spec.gives)
    if route.nodes[-1].spec.gives is not Audio:
        last = route.nodes[-1].spec
        raise ConfigError(
            f"route {route.name!r}: the last stage {last.name!r} gives {last.gives.__name__}, not Audio; "
            "end with a vocoder"
        )


def check_checkpoints(route: Route) -> None:
    """Refuses weights that were not trained for each other (AudioSpec, codebook, symbols), from meta.json alone.

    Raises:
        CheckpointError: missing weights, weights of another stage, or two that disagree.
        ConfigError: something that a stage's weights cannot do.
    """
    seen: dict[str, tuple[str, Any]] = {}
    before: list[type] = []
    for node in route.nodes:
        for folder in node.checkpoints.values():
            meta = checkpoint.read_meta(folder)
            for name in AGREE:
                if name not in meta:
                    continue
                other, value = seen.setdefault(name, (folder, meta[name]))
                if value != meta[name]:
                    raise checkpoint.CheckpointError(
                        f"{folder}: its {name} ({str(meta[name])[:12]}) is not that of {other} ({str(value)[:12]}); "
                        "name checkpoints that were trained together"
                    )
        if node.spec.check:
            node.spec.check(node.config, before)
        before.append(node.spec.gives)


def check_voice(route: Route, voice: Voice) -> None:
    """Refuses a voice that a stage's weights cannot speak in. Raises ConfigError, CheckpointError."""
    for node in route.nodes:
        if node.spec.check_voice:
            node.spec.check_voice(node.config, voice)


def audio_spec(route: Route) -> AudioSpec | None:
    """The AudioSpec of the checkpoint that gives the sound; None where no checkpoint says it.

    Raises:
        ConfigError: a checkpoint's config.yaml that cannot be read.
    """
    return _audio([node for node in route.nodes if not node.follows][-1])


def voice_rate(route: Route) -> int:
    """Samples per second at which the route's stages want to hear a voice's clip.

    A stage that knows voices by name (`check_voice`) hears none, and knows them at the rate that is usual.

    Raises:
        ConfigError: a checkpoint's config.yaml that cannot be read.
    """
    heard = [node for node in route.nodes if Voice in node.spec.needs and not node.spec.check_voice]
    specs = [spec for node in heard if (spec := _audio(node)) is not None]
    return (specs[0] if specs else AudioSpec()).sample_rate


def _audio(node: Node) -> AudioSpec | None:
    for folder in node.checkpoints.values():
        path = checkpoint.locate(folder) / checkpoint.CONFIG
        values = read_yaml(path) if path.is_file() else {}
        return build(AudioSpec, values["audio"], f"{path}: audio") if "audio" in values else None
    return None


def _top_keys() -> list[str]:
    return [f.name for f in dataclasses.fields(RouteFile)]


def _route_path(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    if name in PLANNED and not (ROUTES / f"{name}.yaml").is_file():
        raise ConfigError(f"pipeline {name!r} is not there yet; use tortoise")
    known = sorted(p.stem for p in ROUTES.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"unknown pipeline {name!r}{near_miss(name, known)}")
    return ROUTES / f"{name}.yaml"


def _stage_names(values: dict[str, Any], path: Path) -> list[str]:
    names = values.get("stages")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ConfigError(f"{path}: stages must be a list of stage names in order")
    for name in names:
        if name in FOLLOWERS:
            raise ConfigError(f"{path}: stage {name!r} is not named here; judges that listen (rerank.judges) add it")
        if name not in STAGES:
            raise ConfigError(f"{path}: unknown stage {name!r}{near_miss(name, STAGES)}")
    if len(set(names)) != len(names):
        raise ConfigError(f"{path}: stages names one stage twice; name each once")
    return names


def _check_sections(values: dict[str, Any], known: list[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown stage {key!r}{near_miss(key, known)}")


def _node(name: str, section: Any, where: str) -> Node:
    if not isinstance(section, dict):
        raise ConfigError(
            f"{where}: {name}: expected a mapping of keys to values, got {section!r}; write {name}.key=value"
        )
    target = STAGES[name]
    spec: StageSpec = importlib.import_module(target.partition(":")[0].rpartition(".")[0] + ".config").SPEC
    return Node(spec, build(spec.config, section, name), target)


def _with_followers(nodes: list[Node]) -> tuple[Node, ...]:
    added: dict[str, dict[str, Any]] = {}
    for node in nodes:
        added |= node.spec.followers(node.config) if node.spec.followers else {}
    last = [replace(_node(name, section, "rerank.judges"), follows=True) for name, section in added.items()]
    return (*nodes, *last)


def _content(key: str, path: str) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise ConfigError(f"{key}: {path} cannot be read ({error.strerror}); name a file that can") from None


@functools.lru_cache(maxsize=64)
def _digest_once(folder: str, stamp: tuple[int, ...]) -> str:
    return checkpoint.checkpoint_digest(folder)


def _weights_digest(folder: str) -> str:
    """The weights' digest, read once per process as long as the file is not written anew."""
    try:
        stats = [file.stat() for file in checkpoint.weight_files(checkpoint.locate(folder))]
    except OSError:
        return checkpoint.checkpoint_digest(folder)  # raises the sentence that says what is missing
    return _digest_once(str(folder), tuple(number for s in stats for number in (s.st_mtime_ns, s.st_size)))
