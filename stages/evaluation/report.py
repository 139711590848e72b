"""Tells what was measured: a table, JSON, Markdown, and an HTML page with players (`page.py`)."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.checkpoint import ROOT
from stages.core.config import ConfigError, to_plain
from stages.core.files import write_atomic
from stages.core.lineage import versions
from stages.core.route import Route
from stages.evaluation.blame import Cost, costs, culprit
from stages.evaluation.compare import Comparison, compared, pairs
from stages.evaluation.measures import Column, columns
from stages.evaluation.scores import Row
from stages.evaluation.seeds import COLUMNS
from stages.evaluation.speed import peak_memory

if TYPE_CHECKING:
    from stages.evaluation.config import EvaluateConfig
    from stages.evaluation.plan import Failed


@dataclass(eq=False)
class Report:
    """Everything that one evaluation found."""

    name: str
    config: EvaluateConfig
    route: Route
    items: int
    reference: str = ""
    baseline: str = ""
    notes: tuple[str, ...] = ()
    command: str = ""
    failed: list[Failed] = field(default_factory=list)
    """systems that gave nothing that could be measured"""
    rows: list[Row] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Items without (the whole of) their sound, over all systems and voices."""
        return sum(len(row.items) - row.spoken for row in self.rows)

    @property
    def columns(self) -> list[Column]:
        """Of the measures per sentence."""
        return columns(self.config.measures)

    @property
    def shown_columns(self) -> list[Column]:
        """Those of the table: what some system has a number for."""
        return [c for c in self.columns if c.shown and any(row.measured(c.name) for row in self.rows)]

    @property
    def voices(self) -> list[str]:
        """In order."""
        return list(dict.fromkeys(row.voice for row in self.rows))

    def comparisons(self) -> list[Comparison]:
        """Differences of the systems, with paired intervals."""
        found = {(row.voice, row.system): row for row in self.rows}
        wanted = [
            (found[voice, ours], found[voice, theirs])
            for voice in self.voices
            for ours, theirs in pairs([s for v, s in found if v == voice], self.reference, self.baseline)
        ]
        return [compared(o, t, self.columns, self.config.seed, self.config.draws) for o, t in wanted]

    def blame(self) -> list[Cost]:
        """What every stage costs, voice by voice; only systems by the evaluation's own route count."""
        own = {entry.name for entry in self.config.entries if not entry.varies and entry.kind == entry.name}
        return [
            cost
            for voice in self.voices
            for cost in costs(
                {row.system: row for row in self.rows if row.voice == voice and row.system in own},
                self.route, self.config.seed, self.config.draws,
            )
        ]  # fmt: skip

    def plain(self, details: bool = True) -> dict[str, Any]:
        """The report as JSON can hold it; without details, only the summaries."""
        blame = self.blame()
        out: dict[str, Any] = {
            "name": self.name, "pipeline": self.route.name, "preset": self.route.preset, "sentences": self.items,
            "missing": self.missing, "failed": {f.name: f.reason for f in self.failed}, "notes": list(self.notes),
            "reference": self.reference, "baseline": self.baseline,
            "systems": [row.summary() for row in self.rows], "comparisons": [c.plain() for c in self.comparisons()],
            "blame": [cost.plain() for cost in blame], "culprit": culprit(blame) if blame else None,
            "peak_memory_mb": round(peak_memory() / 1e6, 1), "commit": commit(), "command": self.command,
        }  # fmt: skip
        if details:
            out |= {"made": now(), "versions": versions(), "config": to_plain(self.config)}
            out["details"] = [
                {"voice": row.voice, "system": row.system, "worst_words": [to_plain(w) for w in row.worst],
                 "phones": to_plain(row.phones), "items": [item.plain() for item in row.items]}
                for row in self.rows
            ]  # fmt: skip
        return out

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(self.plain(details=False), allow_nan=False)

    def coverage(self) -> str:
        """How much was spoken, and by name what was not."""
        total = sum(len(row.items) for row in self.rows)
        lines = [f"coverage: {total - self.missing} of {total} sentences spoken"]
        lines += [f"failed: {f.name}: {f.reason}" for f in self.failed]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"note: {row.voice}/{row.system}: {note}" for row in self.rows for note in row.notes]
        return "\n".join(lines)

    def table(self) -> str:
        """Plain text: coverage first, then the systems, the blame, and the comparisons."""
        parts = [self.coverage(), aligned([header(self), *(cells(self, row) for row in self.rows)])]
        blame = self.blame()
        if blame:
            lines = [aligned([BLAME_HEADER, *(blame_cells(cost) for cost in blame)])]
            parts.append("\n".join([*lines, *(f"{c.voice}: {c.sentence}" for c in blame), culprit(blame)]))
        parts.append("\n".join(c.sentence(self.columns) for c in self.comparisons()))
        return "\n\n".join(part for part in parts if part)

    def markdown(self) -> str:
        """The systems as a table for a README, with the commit and the command that made it."""
        rows = [header(self), *(cells(self, row) for row in self.rows)]
        rows += [[f.name, f"failed: {f.reason}"] for f in self.failed]
        width = len(rows[0])
        lines = [
            "| " + " | ".join(c.replace("|", "\\|") for c in row + [""] * (width - len(row))) + " |" for row in rows
        ]
        lines.insert(1, "|" + "---|" * width)
        return "\n".join([*lines, "", f"{self.items} sentences, commit {commit()}, `{self.command}`"])


BLAME_HEADER = ["voice", "stage", "in its place", "WER %", "with it", "cost", "95 % interval", "MCD dB", "verdict"]


def header(report: Report) -> list[str]:
    """Titles of the table of systems."""
    own = [c.title for c in report.shown_columns] + [c.title for c in _whole(report)]
    memory = ["CPU RTF", "memory MB"] if any(row.alone for row in report.rows) else []
    return ["voice", "system", "spoken", "WER %", "95 % interval", "CER %", *own, "RTF", *memory]


def cells(report: Report, row: Row) -> list[str]:
    """One system as a line of the table."""
    low, high = row.interval
    own = [mean_shown(row, c) for c in report.shown_columns]
    own += [shown(row.whole[c.name].value, c.digits) if c.name in row.whole else "-" for c in _whole(report)]
    rtf = f"{row.rtf:.2f}" if row.rtf else "cached" if row.speeds else "-"
    memory = [f"{row.alone.cpu_rtf:.2f}", f"{row.alone.peak_bytes / 1e6:.0f}"] if row.alone else ["-", "-"]
    return [
        row.voice, row.system, f"{row.spoken}/{len(row.items)}", f"{100 * row.wer:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}", f"{100 * row.cer:.2f}", *own, rtf,
        *(memory if any(r.alone for r in report.rows) else []),
    ]  # fmt: skip


def whole_columns(report: Report) -> list[Column]:
    """Columns of all sentences together that some system has."""
    found = [*columns(report.config.measures, whole=True), *COLUMNS]
    return [c for c in found if any(c.name in row.whole for row in report.rows)]


def _whole(report: Report) -> list[Column]:
    return [c for c in whole_columns(report) if c.shown]


def blame_cells(cost: Cost) -> list[str]:
    """One stage as a line of the table of blame."""
    low, high = cost.wer.low, cost.wer.high
    mcd = f"{cost.mcd.value:+.2f} [{cost.mcd.low:+.2f}, {cost.mcd.high:+.2f}]" if cost.mcd else "-"
    return [
        cost.voice, cost.name, cost.truth, f"{100 * cost.wer_without:.2f}", f"{100 * cost.wer_with:.2f}",
        f"{100 * cost.wer.value:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}", mcd, cost.wer.verdict,
    ]  # fmt: skip


def shown(value: float | None, digits: int = 2) -> str:
    """A number for people; `-` for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def mean_shown(row: Row, column: Column) -> str:
    """A mean, with the number of items behind it when that is not all of them."""
    measured = row.measured(column.name)
    note = f" ({measured}/{len(row.items)})" if 0 < measured < len(row.items) else ""
    return shown(row.mean(column.name), column.digits) + note


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def now() -> str:
    """UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def commit() -> str | None:
    """The commit of the checkout, with `+` when files differ from it; None outside a checkout."""
    try:
        return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def write_report(report: Report, out: Path) -> None:
    """Writes report.json, .txt, .md and .html with its sounds, and the summary. Raises ConfigError when it cannot."""
    from stages.evaluation.page import page
    from stages.evaluation.players import players

    text = json.dumps(report.plain(), indent=1, ensure_ascii=True, allow_nan=False)
    found = players(report.rows, out, report.config.audio)
    files = {
        out / "report.json": text + "\n", out / "report.txt": report.table() + "\n",
        out / "report.md": report.markdown() + "\n", out / "report.html": page(report, found),
    }  # fmt: skip
    if report.config.summary:
        plain = report.plain(details=False) | {"made": now(), "versions": versions()}
        files[Path(report.config.summary)] = json.dumps(plain, indent=1, allow_nan=False) + "\n"
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content.encode("utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); name a place with room and rights"
            ) from None
