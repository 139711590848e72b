"""Measures what the systems gave, and tells it: a table, JSON, and one self-contained HTML page."""

from __future__ import annotations

import html
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.checkpoint import ROOT
from stages.core.config import ConfigError, to_plain
from stages.core.files import write_atomic
from stages.core.lineage import versions
from stages.evaluation import distortion
from stages.evaluation.intelligibility import (
    Counts,
    WordErrors,
    count,
    error_rates,
    mean_interval,
    verdict,
    wer_difference,
    wer_interval,
    worst_words,
)
from stages.evaluation.speed import StageSpeed, peak_memory, total_rtf
from stages.evaluation.systems import Bench, Clip, Output, Sentence

if TYPE_CHECKING:
    from stages.evaluation.run import EvaluateConfig

PAIRS = (
    ("pipeline", "teacher"), ("pipeline", "random"), ("pipeline", "oracle"), ("vocoder", "teacher"),
    ("codes", "vocoder"), ("diffusion", "vocoder"), ("diffusion", "codes"), ("pipeline", "diffusion"),
)  # fmt: skip
"""(ours, theirs): which systems are compared when both were run"""


@dataclass(frozen=True)
class ItemScore:
    """One sentence of one system; what cannot be measured without sound is None and counted, never averaged away."""

    id: str
    text: str
    reference: str
    heard: str
    wer: float
    mcd: float | None
    mel_l1: float | None
    duration: float | None
    seconds: float | None
    error: str | None
    faults: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """One system in one voice."""

    voice: str
    system: str
    spoken: int
    """items with sound and without error, out of `items`; part of a sentence's sound is scored, but is not coverage"""
    items: list[ItemScore]
    counts: list[Counts]
    interval: tuple[float, float]
    worst: list[WordErrors]
    speeds: list[StageSpeed]

    @property
    def wer(self) -> float:
        """Over the corpus."""
        return error_rates(self.counts)[0]

    @property
    def cer(self) -> float:
        """Over the corpus."""
        return error_rates(self.counts)[1]

    def mean(self, name: str) -> float | None:
        """Mean of a measure over the items that have it; None when none has."""
        values = [v for v in (getattr(item, name) for item in self.items) if v is not None]
        return sum(values) / len(values) if values else None

    def measured(self, name: str) -> int:
        """Number of items that have a measure."""
        return sum(getattr(item, name) is not None for item in self.items)

    def summary(self) -> dict[str, Any]:
        """Plain numbers; error rates as fractions, MCD in dB, mel L1 in natural-log units."""
        return {
            "voice": self.voice, "system": self.system, "items": len(self.items), "spoken": self.spoken,
            "coverage": round(self.spoken / len(self.items), 4), "wer": round(self.wer, 5),
            "wer_low": round(self.interval[0], 5), "wer_high": round(self.interval[1], 5), "cer": round(self.cer, 5),
            "mcd_db": _rounded(self.mean("mcd")), "mcd_items": self.measured("mcd"),
            "mel_l1": _rounded(self.mean("mel_l1")), "mel_l1_items": self.measured("mel_l1"),
            "duration_ratio": _rounded(self.mean("duration")), "rtf": _rounded(total_rtf(self.speeds)),
            "rtf_by_stage": {s.stage: _rounded(s.rtf) for s in self.speeds},
            "faults": sum(bool(item.faults) for item in self.items),
        }  # fmt: skip


@dataclass(eq=False)
class Report:
    """Everything that one evaluation found."""

    name: str
    config: EvaluateConfig
    preset: str
    items: int
    rows: list[Row] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """Items without (the whole of) their sound, over all systems and voices."""
        return sum(len(row.items) - row.spoken for row in self.rows)

    def comparisons(self) -> list[dict[str, Any]]:
        """WER differences of the PAIRS that were run, with paired intervals."""
        found = {(row.voice, row.system): row for row in self.rows}
        return [
            _compared(found[voice, ours], found[voice, theirs], self.config)
            for voice in dict.fromkeys(row.voice for row in self.rows)
            for ours, theirs in PAIRS
            if (voice, ours) in found and (voice, theirs) in found
        ]

    def plain(self, details: bool = True) -> dict[str, Any]:
        """The report as JSON can hold it; without details, only the summaries."""
        out = {
            "name": self.name, "preset": self.preset, "sentences": self.items, "missing": self.missing,
            "systems": [row.summary() for row in self.rows], "comparisons": self.comparisons(),
            "peak_memory_mb": round(peak_memory() / 1e6, 1), "commit": _commit(),
        }  # fmt: skip
        if details:
            out |= {"made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "versions": versions()}
            out |= {"config": to_plain(self.config)}
            out["details"] = [
                {"voice": row.voice, "system": row.system, "worst_words": [asdict(w) for w in row.worst],
                 "items": [asdict(item) for item in row.items]}
                for row in self.rows
            ]  # fmt: skip
        return out

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(self.plain(details=False), allow_nan=False)

    def table(self) -> str:
        """A plain-text table, coverage first, then the comparisons."""
        lines = [_aligned([HEADER, *(_cells(row) for row in self.rows)])]
        compared = [_sentence(c) for c in self.comparisons()]
        return "\n".join([*lines, *([""] if compared else []), *compared])


HEADER = ["voice", "system", "spoken", "WER %", "95 % interval", "CER %", "MCD dB", "mel L1", "duration", "RTF"]


def assess(
    bench: Bench, system: str, output: Output, heard: Sequence[str], truth: Sequence[Clip] | None, draws: int
) -> Row:
    """Scores a system's clips against the references and, where there is one, the teacher's sound (`truth`)."""
    counts = [count(s.reference, h) for s, h in zip(bench.sentences, heard, strict=True)]
    others: Sequence[Clip | None] = [None] * len(counts) if truth is None or system == "teacher" else truth
    items = [
        _item(bench, sentence, clip, text, errors, other)
        for sentence, clip, text, errors, other in zip(
            bench.sentences, output.clips, heard, counts, others, strict=True
        )
    ]
    spoken = sum(clip.audio is not None and clip.error is None for clip in output.clips)
    worst = worst_words([s.reference for s in bench.sentences], list(heard))
    return Row(
        bench.voice.name, system, spoken, items, counts, wer_interval(counts, bench.seed, draws), worst, output.speeds
    )


def _item(bench: Bench, sentence: Sentence, clip: Clip, heard: str, errors: Counts, truth: Clip | None) -> ItemScore:
    mcd = l1 = ratio = None
    if clip.audio is not None and truth is not None and truth.audio is not None:
        reference = distortion.log_mel(truth.audio, bench.spec)
        mcd = distortion.mel_cepstral_distortion(reference, distortion.log_mel(clip.audio, bench.spec))
        ratio = distortion.duration_ratio(clip.audio, truth.audio)
        if clip.mel is not None and len(clip.mel) == len(reference):
            l1 = distortion.mel_l1(distortion.natural(clip.mel, bench.spec), reference)
    seconds = clip.audio.samples.size / clip.audio.sample_rate if clip.audio else None
    return ItemScore(
        sentence.id, sentence.text, sentence.reference, heard, round(errors.word_errors / errors.words, 4),
        _rounded(mcd), _rounded(l1), _rounded(ratio), _rounded(seconds), clip.error, clip.faults,
    )  # fmt: skip


def _compared(ours: Row, theirs: Row, config: EvaluateConfig) -> dict[str, Any]:
    found = wer_difference(ours.counts, theirs.counts, config.seed, config.draws)
    return {
        "voice": ours.voice, "ours": ours.system, "theirs": theirs.system, "wer_difference": round(found.wer, 5),
        "low": round(found.low, 5), "high": round(found.high, 5), "verdict": found.verdict,
        "wer_ratio": _rounded(ours.wer / theirs.wer) if theirs.wer else None,
        "mcd": _mean_difference(ours, theirs, "mcd", config),
        "mel_l1": _mean_difference(ours, theirs, "mel_l1", config),
    }  # fmt: skip


def _mean_difference(ours: Row, theirs: Row, name: str, config: EvaluateConfig) -> dict[str, Any] | None:
    """Difference of the means over the items that both have, with its paired interval; None when they share none."""
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(ours.items, theirs.items, strict=True)]
    shared = [a - b for a, b in pairs if a is not None and b is not None]
    if not shared:
        return None
    low, high = mean_interval(shared, config.seed, config.draws)
    out: dict[str, Any] = {
        "difference": round(sum(shared) / len(shared), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }
    return out | {"items": len(shared), "verdict": verdict(low, high)}


def _sentence(c: dict[str, Any]) -> str:
    ratio = f", {c['wer_ratio']:.2f} times" if c["wer_ratio"] is not None else ""
    return (
        f"{c['voice']}: {c['ours']} - {c['theirs']}: {100 * c['wer_difference']:+.2f} points of WER "
        f"({100 * c['low']:+.2f} to {100 * c['high']:+.2f}{ratio}): {c['verdict']}"
        f"{_measure_sentence('MCD dB', c['mcd'])}{_measure_sentence('mel L1', c['mel_l1'])}"
    )


def _measure_sentence(name: str, found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"; {name} {found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}): {found['verdict']}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _shown(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _mean_shown(row: Row, name: str, digits: int = 2) -> str:
    """A mean, with the number of items behind it when that is not all of them."""
    measured = row.measured(name)
    note = f" ({measured}/{len(row.items)})" if 0 < measured < len(row.items) else ""
    return _shown(row.mean(name), digits) + note


def _cells(row: Row) -> list[str]:
    low, high = row.interval
    return [
        row.voice, row.system, f"{row.spoken}/{len(row.items)}", f"{100 * row.wer:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}", f"{100 * row.cer:.2f}", _mean_shown(row, "mcd"),
        _mean_shown(row, "mel_l1", 3), _mean_shown(row, "duration"),
        _shown(total_rtf(row.speeds)) if row.speeds and total_rtf(row.speeds) else "cached" if row.speeds else "-",
    ]  # fmt: skip


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _commit() -> str | None:
    """The commit of the checkout, with `+` when files differ from it; None outside a checkout."""
    try:
        return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def write_report(report: Report, out: Path) -> None:
    """Writes report.json, report.txt and report.html. Raises ConfigError when the folder cannot be written."""
    text = json.dumps(report.plain(), indent=1, ensure_ascii=True, allow_nan=False)
    files = {"report.json": text + "\n", "report.txt": report.table() + "\n", "report.html": page(report)}
    for name, content in files.items():
        try:
            write_atomic(out / name, content.encode("utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{out / name}: cannot be written ({error.strerror}); name a place with room and rights"
            ) from None


STYLE = (
    "body{font:15px/1.4 sans-serif;margin:2em;max-width:80em}table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #bbb;padding:.2em .5em;text-align:left;vertical-align:top}th{background:#eee}"
    ".bad{background:#fdd}"
)


def page(report: Report) -> str:
    """The report as one HTML page without scripts or links; every text is escaped."""
    plain = report.plain(details=False)
    intro = (
        f"{report.items} sentences, preset {report.preset}, seed {report.config.seed}, "
        f"recogniser {report.config.recogniser}, commit {plain['commit']}, peak memory {plain['peak_memory_mb']} MB. "
        f"Items without all of their sound: {report.missing}; a word that is missing is an error."
    )
    parts = [f"<h1>{_escaped(report.name)}</h1>", f"<p>{_escaped(intro)}</p>"]
    parts.append(_html_table(HEADER, [_cells(row) for row in report.rows]))
    parts += [f"<p>{_escaped(_sentence(c))}</p>" for c in plain["comparisons"]]
    for row in report.rows:
        parts += _section(row)
    title = _escaped(f"Evaluation {report.name}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _section(row: Row) -> list[str]:
    words = [[w.word, w.said, w.wrong, ", ".join(f"{h or '(nothing)'} x{n}" for h, n in w.heard)] for w in row.worst]
    items = sorted(row.items, key=lambda i: (-i.wer, i.id))
    cells = [
        [i.id, f"{100 * i.wer:.0f}", i.reference, i.heard or "(nothing)", _shown(i.mcd), _shown(i.mel_l1, 3),
         _shown(i.duration), "; ".join([*i.faults, *([i.error] if i.error else [])])]
        for i in items
    ]  # fmt: skip
    speeds = [[s.stage, f"{s.seconds:.2f}", f"{s.audio_seconds:.2f}", _shown(s.rtf, 3)] for s in row.speeds]
    out = [f"<h2>{_escaped(row.voice)}: {_escaped(row.system)}</h2>"]
    if speeds:
        out.append(_html_table(["stage", "seconds of work", "seconds of speech", "RTF"], speeds))
    out.append(_html_table(["worst words", "said", "wrong", "heard as"], words))
    header = ["id", "WER %", "reference", "heard", "MCD dB", "mel L1", "duration", "notes"]
    return [*out, _html_table(header, cells, [i.wer > 0 for i in items])]


def _html_table(header: Sequence[str], rows: Sequence[Sequence[object]], bad: Sequence[bool] | None = None) -> str:
    head = "".join(f"<th>{_escaped(h)}</th>" for h in header)
    marks = [' class="bad"' if b else "" for b in bad] if bad is not None else [""] * len(rows)
    body = "\n".join(
        f"<tr{mark}>{''.join(f'<td>{_escaped(c)}</td>' for c in row)}</tr>"
        for mark, row in zip(marks, rows, strict=True)
    )
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _escaped(value: object) -> str:
    return html.escape(str(value))
