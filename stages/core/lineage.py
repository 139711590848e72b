"""Where an utterance came from, as a record beside its sound, and in what two records differ."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.core.artifacts import ArtifactStore
from stages.core.route import Route
from stages.core.types import Audio, Choice, Phonemes, RankedCodes
from stages.core.units import Document, Unit, choice_key, with_more

if TYPE_CHECKING:
    from stages.core.pipeline import Pipeline

Record = dict[str, Any]


def lineage(pipeline: Pipeline, document: Document, unit: Unit, audio: Audio, store: ArtifactStore) -> Record:
    """Where a sentence's audio came from: text, keys, weights, seed, scores, timings, versions."""
    nodes = pipeline.route.nodes
    phonemes, ranked = _phonemes(pipeline.route, unit, store), choice_of(pipeline.route, unit, store)
    choice = ranked if isinstance(ranked, Choice) else None
    for _ in range(choice.retries if choice and unit.pick is None else 0):
        unit = with_more(pipeline.route, unit)  # the candidates that it was chosen from
    return {
        "text": unit.text,
        "spoken": [word.spoken for word in phonemes.words] if phonemes else [],
        "unspoken": list(phonemes.unspoken) if phonemes else [],
        "voice": document.voice.name,
        "voice_digest": unit.voice,
        "seed": document.seed,
        "pick": unit.pick,
        "route": pipeline.route.name,
        "preset": pipeline.route.preset,
        "seconds_of_audio": audio.samples.size / audio.sample_rate,
        "chain": [node.spec.name for node in nodes],
        "stages": {
            node.spec.name: {
                "version": node.spec.version,
                "weights": node.weights,
                "config": node.key_config,
                "keys": list(step.keys),
            }
            for node, step in zip(nodes, unit.steps, strict=True)
        },
        "seconds": pipeline.report.spent.get(unit.key, {}),
        "chosen": ranked.chosen if ranked else None,
        "scores": {judge: list(scores) for judge, scores in ranked.scores.items()} if ranked else {},
        "faults": list(ranked.faults) if ranked else [],
        "retries": choice.retries if choice else 0,
        "threshold_met": choice.met if choice else None,
        "heard": choice.transcript if choice else None,
        "versions": versions(),
    }


def _phonemes(route: Route, unit: Unit, store: ArtifactStore) -> Phonemes | None:
    at = next((i for i, node in enumerate(route.nodes) if node.spec.gives is Phonemes), None)
    return None if at is None else store.get(Phonemes, unit.steps[at].keys[0])


def choice_of(route: Route, unit: Unit, store: ArtifactStore) -> Choice | RankedCodes | None:
    """Which candidate a sentence's sound is of; None when that is not known (any more), or nothing is chosen."""
    if route.takes:  # what the codes alone would have ranked first is not what was taken
        return store.get(Choice, choice_key(unit.key))
    at = next((i for i, node in enumerate(route.nodes) if node.spec.gives is RankedCodes), None)
    return None if at is None else store.get(RankedCodes, unit.steps[at].keys[0])


@functools.lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what can change a result."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("caretta", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def document_record(document: Document) -> Record:
    """The record of a text of several sentences: their keys; each sentence has a record of its own."""
    return {
        "text": document.text,
        "voice": document.voice.name,
        "seed": document.seed,
        "pauses": list(document.pauses),
        "sentences": [unit.key for unit in document.units],
    }


@dataclass(frozen=True)
class Utterance:
    """What is known of a spoken text."""

    sentences: list[Record]
    pauses: list[float] | None = None
    """between them, seconds; None for a single sentence"""


def utterance(key: str, store: ArtifactStore) -> Utterance | None:
    """What the store knows of the utterance with this key; None when it does not know it (any more)."""
    record = store.read_record(key)
    if record is None:
        return None
    if "sentences" not in record:
        return Utterance([record])
    found = [store.read_record(sentence) for sentence in record["sentences"]]
    whole = [r for r in found if r is not None]
    return Utterance(whole, record["pauses"]) if len(whole) == len(found) else None


def difference(first: Utterance, second: Utterance) -> str:
    """In one line why two utterances differ: the first thing on the way from text to sound that is not the same."""
    one, two = first.sentences, second.sentences
    if len(one) != len(two):
        return f"the texts differ: {len(one)} sentences and {len(two)}"
    for number, (a, b) in enumerate(zip(one, two, strict=True), 1):
        found = _difference(a, b)
        if found:
            return found if len(one) == 1 else f"sentence {number}: {found}"
    if first.pauses != second.pauses:
        return f"pauses (sentence, paragraph, title): {first.pauses} and {second.pauses} seconds"
    return "they do not differ: the same text, voice, seed, weights and settings"


def _difference(a: Record, b: Record) -> str | None:
    for name in ("text", "voice", "seed"):
        if a[name] != b[name]:
            return f"{name}: {a[name]!r} and {b[name]!r}"
    if a["voice_digest"] != b["voice_digest"]:
        return f"voice: {a['voice']!r} has another clip ({a['voice_digest'][:12]} and {b['voice_digest'][:12]})"
    if a["chain"] != b["chain"]:
        return f"stages: {', '.join(a['chain'])} and {', '.join(b['chain'])}"
    for stage in a["chain"]:
        found = _stage_difference(stage, a["stages"][stage], b["stages"][stage])
        if found:
            return found
    if a.get("pick") != b.get("pick"):
        return f"pick: candidate {a.get('pick')} and {b.get('pick')} (None is the judges' choice)"
    return None


def _stage_difference(stage: str, a: Record, b: Record) -> str | None:
    names = dict.fromkeys([*a["config"], *b["config"]])
    for name in names:
        if a["config"].get(name) != b["config"].get(name):
            return f"{stage}.{name}: {a['config'].get(name)!r} and {b['config'].get(name)!r}"
    if a["weights"] != b["weights"]:
        return f"{stage}: other weights ({short_weights(a['weights'])} and {short_weights(b['weights'])})"
    if a["version"] != b["version"]:
        return f"{stage}: version {a['version']} and {b['version']} of its code"
    if len(a["keys"]) != len(b["keys"]):
        return f"{stage}: {len(a['keys'])} candidates and {len(b['keys'])}"
    return None


def short_weights(weights: str) -> str:
    """ "checkpoint=0123…" with 12 digits of each digest."""
    return ", ".join(part[: part.find("=") + 13] for part in weights.split(",")) or "none"


def told(record: Record) -> list[str]:
    """A sentence's record for people."""
    out = [
        record["text"],
        f"  voice {record['voice']} ({record['voice_digest'][:12]}), seed {record['seed']}, route {record['route']}, "
        f"preset {record['preset']}, {record['seconds_of_audio']:.2f} s",
        f"  spoken: {' '.join(record['spoken'])}",
    ]
    for stage in record["chain"]:
        part = record["stages"][stage]
        keys = part["keys"]
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        seconds = record["seconds"].get(stage)
        took = "found in the store" if seconds is None else f"about {seconds:.3f} s"
        settings = ", ".join(f"{k}={v}" for k, v in part["config"].items() if v not in (None, ""))
        weights = f", weights {short_weights(part['weights'])}" if part["weights"] else ""
        out.append(
            f"  {stage} v{part['version']}: {keys[0][:12]}{more}, {took}{weights}" + f"; {settings}" * bool(settings)
        )
    if record["scores"]:
        chosen = record["chosen"]
        scores = ", ".join(f"{judge} {scores[chosen] + 0.0:.3f}" for judge, scores in record["scores"].items())
        by = "picked by hand" if record.get("pick") is not None else "chosen"
        out.append(f"  candidate {chosen} of {len(next(iter(record['scores'].values())))} {by}: {scores}")
    out += _listened(record)
    if record["faults"]:
        out.append(f"  faults: {', '.join(record['faults'])}")
    out.append("  " + ", ".join(f"{name} {version}" for name, version in record["versions"].items()))
    return out


def _listened(record: Record) -> list[str]:
    """What became of thresholds and retries, and what was heard; nothing for a route that does not listen."""
    out = []
    if record.get("threshold_met") is not None:
        retries = record["retries"]
        found = "met" if record["threshold_met"] else "not met, the best there was is taken"
        out.append(f"  threshold {found} after {retries} retr{'y' if retries == 1 else 'ies'}")
    if record.get("heard") is not None:
        out.append(f"  heard: {record['heard'] or 'nothing'}")
    return out
