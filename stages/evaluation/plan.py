"""What will be measured: every entry of a configuration with its route, checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.core import route as routes
from stages.core.checkpoint import CheckpointError
from stages.core.config import ConfigError, read_with_base
from stages.core.route import Route, check_voice, load_route
from stages.core.types import Voice
from stages.evaluation.bench import Bench, Output, Sentence
from stages.evaluation.config import Entry, EvaluateConfig, Matrix
from stages.evaluation.folder import Paired, pair, read_folder
from stages.evaluation.systems import SYSTEMS, check_system, check_weights


@dataclass(frozen=True)
class Failed:
    """A system that gave nothing that could be measured: it is told by name and never listed with a number."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Plan:
    """One system, ready to run."""

    entry: Entry
    route: Route
    run: Callable[[Bench], Output]
    teacher: bool = False
    """needs the teacher's sound"""
    chain: bool = False
    """speaks by its route from text to sound"""
    optional: bool = False
    """a failure is told and the others go on"""

    @property
    def name(self) -> str:
        """Of the system."""
        return self.entry.name


def plans(
    config: EvaluateConfig, route: Route, sentences: Sequence[Sentence], voices: Sequence[Voice]
) -> tuple[tuple[Plan, ...], tuple[Failed, ...]]:
    """Every system of a configuration, and those of its matrix that cannot run.

    Raises:
        ConfigError, CheckpointError: a system that was named cannot run.
    """
    found = [_planned(entry, config, route, sentences, voices) for entry in config.entries]
    failed = []
    for entry in _matrix(config.matrix) if config.matrix else ():
        try:
            own = _route_of(entry, config, route)
            check_weights("pipeline", own, config.codes)
            _check_voices(own, voices)
            found.append(Plan(entry, own, SYSTEMS["pipeline"].run, chain=True, optional=True))
        except (ConfigError, CheckpointError) as error:
            failed.append(Failed(entry.name, " ".join(str(error).split())))
    if not found:
        raise ConfigError(f"no system can run; the first, {failed[0].name}: {failed[0].reason}")
    return tuple(found), tuple(failed)


def _planned(
    entry: Entry, config: EvaluateConfig, route: Route, sentences: Sequence[Sentence], voices: Sequence[Voice]
) -> Plan:
    if entry.folder:
        return Plan(entry, route, _folder(entry, sentences, voices))
    kind = entry.kind or ("pipeline" if entry.varies else entry.name)
    check_system(kind)
    own = _route_of(entry, config, route)
    check_weights(kind, own, config.codes)
    system = SYSTEMS[kind]
    if system.chain:
        _check_voices(own, voices)
    return Plan(entry, own, system.run, system.teacher, chain=kind == "pipeline")


def _check_voices(route: Route, voices: Sequence[Voice]) -> None:
    for voice in voices:
        check_voice(route, voice)


def _route_of(entry: Entry, config: EvaluateConfig, route: Route) -> Route:
    """The evaluation's route, or the entry's own: its pipeline, preset and overrides over those of the evaluation."""
    if not entry.varies:
        return route
    preset = entry.preset if entry.preset or entry.pipeline else config.preset
    return load_route(entry.pipeline or config.pipeline, preset, (*config.sets, *entry.sets))


def _folder(entry: Entry, sentences: Sequence[Sentence], voices: Sequence[Voice]) -> Callable[[Bench], Output]:
    if len(voices) > 1 and "{voice}" not in entry.folder:
        raise ConfigError(
            f"system {entry.name!r}: which of the {len(voices)} voices is {entry.folder}? put {{voice}} into the path, "
            "or name one voice"
        )
    folders: dict[str, Paired] = {
        voice.name: pair(entry.folder.replace("{voice}", voice.name), sentences, entry.metadata, entry.match)
        for voice in voices
    }
    return lambda bench: read_folder(bench, folders[bench.voice.name])


def _matrix(matrix: Matrix) -> list[Entry]:
    """Every pipeline with every preset; one whose file cannot be read is left with its name alone, to fail by it."""
    entries = []
    for name in matrix.pipelines or sorted(path.stem for path in routes.ROUTES.glob("*.yaml")):
        presets = matrix.presets or _presets(name)
        entries += [Entry(f"{name}/{preset}", "pipeline", pipeline=name, preset=preset) for preset in presets]
    return entries


def _presets(pipeline: str) -> tuple[str, ...]:
    try:
        values = read_with_base(routes.ROUTES / f"{pipeline}.yaml").get("presets")
    except ConfigError:
        values = None
    return tuple(values) if isinstance(values, dict) and values else ("default",)
