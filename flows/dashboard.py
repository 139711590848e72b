"""What Prefect's UI shows of a synthesis run, as artifacts of the flow run: progress, lines, failures, a mel, lineage.

They are for looking at only: a server that does not take one is noted in the log and never fails a run.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.batch import Job
from stages.core.lineage import short_weights, versions
from stages.core.picture import picture
from stages.core.types import Mel

ROWS = 200
"""lines that a table shows at most"""
TEXT = 120
"""characters of a line's text that a table shows at most"""
FRAMES = 500
"""mel frames that a picture shows at most"""
SECONDS_BETWEEN = 1.0
"""between updates of the progress"""


class Dashboard:
    """The artifacts of the current flow run."""

    def __init__(self, job: Job):
        self._job, self._done, self._shown = job, 0, time.monotonic()
        self._progress: Any = None  # id of the artifact
        if job.open_units:
            self._try(self._start)

    def advance(self, sentences: int) -> None:
        """So many more are finished."""
        self._done += sentences
        if time.monotonic() - self._shown >= SECONDS_BETWEEN or self._done == len(self._job.open_units):
            self._shown = time.monotonic()
            self._try(self._update)

    def finish(self, report: dict[str, Any]) -> None:
        """Shows what became of the lines and where they came from; `report` is that of `batch.finish`."""
        self._try(lambda: self._show_lines(report))
        if report["errors"]:
            self._try(lambda: self._show_failures(report))
        self._try(self._show_mel)
        self._try(self._show_lineage)

    def _try(self, show: Callable[[], Any]) -> None:
        try:
            show()
        except Exception as error:  # whatever a server may answer: the sounds are what counts
            get_run_logger().warning("not shown in the UI: %s", " ".join(str(error).split())[:300])

    def _start(self) -> None:
        count = f"{len(self._job.open_units)} sentences"
        self._progress = create_progress_artifact(0.0, key="synthesize-progress", description=count)

    def _update(self) -> None:
        if self._progress is not None:
            update_progress_artifact(self._progress, 100.0 * self._done / len(self._job.open_units))

    def _show_lines(self, report: dict[str, Any]) -> None:
        rows = [_line(row) for row in self._job.rows[:ROWS] if row is not None]
        shown = f", the first {ROWS} of them shown" if report["items"] > ROWS else ""
        create_table_artifact(
            rows,
            key="synthesize-lines",
            description=f"{report['items']} lines{shown}: {report['ok']} spoken ({report['kept']} of them before), "
            f"{report['failed']} failed; {report['audio_seconds']:.1f} s of speech in {report['output']}",
        )

    def _show_failures(self, report: dict[str, Any]) -> None:
        failures = [{"id": name, "reason": reason} for name, reason in list(report["errors"].items())[:ROWS]]
        shown = f", the first {ROWS} shown; the manifest has all" if len(report["errors"]) > ROWS else ""
        create_table_artifact(
            failures, key="synthesize-failures", description=f"{len(report['errors'])} lines without sound{shown}"
        )

    def _show_mel(self) -> None:
        found = first_mel(self._job)
        if found is not None:
            text, mel = found
            url = "data:image/png;base64," + base64.b64encode(picture(mel, FRAMES)).decode("ascii")
            create_image_artifact(url, key="synthesize-mel", description=f"Mel spectrogram of: {text[:TEXT]}")

    def _show_lineage(self) -> None:
        create_markdown_artifact(lineage_page(self._job), key="synthesize-lineage", description="Where it came from")


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """A manifest row as a row of the table."""
    return {
        "id": row["id"], "text": row["text"][:TEXT], "seconds": row.get("duration"),
        "scores": _scores(row.get("scores", [])), "faults": ", ".join(row.get("faults", ())),
        "key": row.get("key", "")[:12],
    }  # fmt: skip


def _scores(sentences: list[dict[str, Any]]) -> str:
    """Every judge's score of the chosen candidate, the mean over a line's sentences."""
    chosen: dict[str, list[float]] = {}
    for sentence in sentences:
        for judge, scores in sentence["scores"].items():
            chosen.setdefault(judge, []).append(scores[sentence["chosen"]])
    return ", ".join(f"{judge} {sum(scores) / len(scores):.3f}" for judge, scores in chosen.items())


def first_mel(job: Job) -> tuple[str, Mel] | None:
    """The first sentence of the corpus whose mel is in the store, and the mel."""
    nodes = job.pipeline.route.nodes
    at = next((index for index in reversed(range(len(nodes))) if nodes[index].spec.gives is Mel), None)
    if at is None:
        return None
    for unit in [unit for document in job.documents[:10] for unit in document.units]:
        key = unit.steps[at].keys[0]
        mel = job.store.get(Mel, key) if job.store.has(key) else None
        if mel is not None:
            return unit.text, mel
    return None


def lineage_page(job: Job) -> str:
    """Route, seed, weights and versions of a run, as Markdown."""
    route, request = job.pipeline.route, job.request
    rows = [
        f"| {node.spec.name} | {node.spec.version} | {short_weights(node.weights)} | {_settings(node.key_config)} |"
        for node in route.nodes
    ]
    return "\n".join([
        f"Route **{route.name}**, preset **{route.preset}**, voice {request.voice}, seed {request.seed}, "
        f"device {route.device}, runner {request.runner}; store {job.store.where}",
        "",
        "| Stage | Version | Weights (sha256) | Settings |",
        "|---|---|---|---|",
        *rows,
        "",
        ", ".join(f"{name} {version}" for name, version in versions().items()),
    ])  # fmt: skip


def _settings(config: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in config.items()).replace("|", "\\|")
