"""How long stages take, remembered beside the store, so that a plan can say what a run will cost.

Estimates are means of what was measured (seconds per character of text and piece), never guesses: a stage that was
never measured has none. Nothing here enters a key or a result.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from stages.core.artifacts import ArtifactStore
from stages.core.fingerprint import digest
from stages.core.reports import RunReport
from stages.core.route import Node, Route

log = logging.getLogger("caretta.store")
FOLDER = "timings"


@dataclass(frozen=True)
class Rate:
    """Seconds per character of text and piece computed (a candidate, where a stage fans out)."""

    seconds: float
    same_settings: bool
    """False: measured with other settings of the same weights"""


def remember(route: Route, report: RunReport, store: ArtifactStore) -> None:
    """Writes down what a run measured; a stage's newest measurement replaces the one before.

    A store that takes nothing more is warned of and no reason to fail: the run's results are written by now.
    """
    files = {}
    for node in route.nodes:
        work, seconds = report.stage_work.get(node.spec.name, 0), report.stage_seconds.get(node.spec.name, 0.0)
        if work:
            entry = json.dumps({"stage": node.spec.name, "seconds": seconds, "work": work}).encode("ascii")
            files.update({_name(node, route, same): entry for same in (True, False)})
    try:
        if files:
            store.storage.write(files)
    except OSError as error:
        log.warning("%s: the measured times cannot be written (%s)", store.where, error.strerror or error)


def rates(route: Route, store: ArtifactStore) -> dict[str, Rate | None]:
    """By stage, how long it takes; None where nothing was measured yet."""
    return {node.spec.name: _rate(node, route, store) for node in route.nodes}


def _rate(node: Node, route: Route, store: ArtifactStore) -> Rate | None:
    for same in (True, False):
        data = store.storage.read(_name(node, route, same))
        try:
            entry: dict[str, Any] = json.loads(data) if data else {}
            return Rate(float(entry["seconds"]) / int(entry["work"]), same)
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            continue  # never measured, or not legible: there is no estimate then
    return None


def _name(node: Node, route: Route, same_settings: bool) -> str:
    settings = node.key_config if same_settings else None
    return f"{FOLDER}/{digest([node.spec.name, node.spec.version, node.weights, route.device, settings])}.json"
