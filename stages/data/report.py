"""Tells what became of a corpus: report.json, measurements.jsonl and an HTML page without scripts."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from stages.core.config import to_plain
from stages.core.files import write_all
from stages.data.plots import Histogram, draw_bars, draw_histogram, histogram
from stages.data.recording import Problem

if TYPE_CHECKING:
    from stages.data.cleaning import CleanConfig, Cleaned, Row

Lost = Sequence[tuple["Row", Problem]]
"""rows that were dropped after their sound had been made"""
EXAMPLES = 20
"""of a reason, on the page; report.json has all"""
MOST_SPEAKERS = 60
"""drawn on the page; the table has all"""
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;padding:0 1em;max-width:75em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.2em .5em;text-align:left;
vertical-align:top;overflow-wrap:anywhere}th{background:#eee}.plots{display:flex;flex-wrap:wrap;gap:1.5em}
figure{margin:0}figcaption{font-weight:600}svg text{font:12px system-ui,sans-serif}audio{height:28px;width:200px}
.key b{padding:0 .5em;color:#fff}
"""


@dataclass(frozen=True)
class Measure:
    """A number of every row."""

    name: str
    title: str
    unit: str
    of: Callable[[Row], float | None]
    limits: Callable[[CleanConfig], tuple[float | None, ...]] = lambda config: ()


MEASURES = (
    Measure("seconds", "Duration", "s", lambda r: r.duration, lambda c: (c.min_seconds, c.max_seconds)),
    Measure("characters_per_second", "Characters a second", "characters/s", lambda r: r.characters_per_second,
            lambda c: (c.min_characters_per_second, c.max_characters_per_second)),
    Measure("lufs_source", "Loudness before the gain", "LUFS", lambda r: r.clip.lufs, lambda c: (c.loudness_lufs,)),
    Measure("lufs", "Loudness of the clips", "LUFS", lambda r: r.lufs),
    Measure("trimmed_seconds", "Silence cut off", "s", lambda r: r.clip.trimmed),
    Measure("snr_db", "Signal-to-noise ratio", "dB", lambda r: r.clip.snr_db, lambda c: (c.min_snr_db,)),
    Measure("peak_db", "Peak of the source", "dB of full scale", lambda r: r.clip.peak_db),
    Measure("clipped_percent", "Samples at full scale", "%", lambda r: 100 * r.clip.clipped,
            lambda c: (100 * c.max_clipped,)),
    Measure("cer_percent", "Character error rate of the recogniser", "%",
            lambda r: None if r.heard is None else 100 * r.heard.cer,
            lambda c: (None if c.mismatch is None else 100 * c.mismatch,)),
)  # fmt: skip
WORST = (
    ("What the recogniser heard differs most", "cer_percent", -1),
    ("Most characters a second", "characters_per_second", -1),
    ("Fewest characters a second", "characters_per_second", 1),
    ("Longest", "seconds", -1),
    ("Shortest", "seconds", 1),
    ("Quietest before the gain", "lufs_source", 1),
    ("Noisiest", "snr_db", 1),
    ("Most samples at full scale", "clipped_percent", -1),
    ("Most silence cut off", "trimmed_seconds", -1),
)
"""(title, measure, 1 = smallest first, -1 = largest first)"""


def summary(cleaned: Cleaned, lost: Lost, config: CleanConfig) -> dict[str, Any]:
    """The report as JSON can hold it. A measure counts the rows that have it; none is made up for the others."""
    rows = cleaned.rows
    return {
        "read": cleaned.read, "kept": len(rows), "dropped": len(cleaned.dropped), "reasons": cleaned.reasons(),
        "seconds": round(sum(r.duration for r in rows), 3), "notes": cleaned.notes, "speakers": _speakers(rows),
        "measures": {m.name: {"unit": m.unit, **_numbers(m, rows)} for m in MEASURES},
        "histograms": {m.name: to_plain(h) for m in MEASURES if (h := _histogram(m, rows, lost))},
        "worst": {title: [r.id for r in found] for title, _, found in worst(rows, config.worst)},
        "config": to_plain(config), "items_dropped": [to_plain(p) for p in cleaned.dropped],
    }  # fmt: skip


def _speakers(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        found = out.setdefault(row.speaker, {"utterances": 0, "valid": 0, "seconds": 0.0})
        found["utterances"] += 1
        found["valid"] += row.split == "valid"
        found["seconds"] = round(found["seconds"] + row.duration, 4)
    return dict(sorted(out.items(), key=lambda item: (-item[1]["seconds"], item[0])))


def _values(measure: Measure, rows: Iterable[Row]) -> list[float]:
    return [v for v in map(measure.of, rows) if v is not None]


def _numbers(measure: Measure, rows: Sequence[Row]) -> dict[str, float | int | None]:
    values = _values(measure, rows)
    if not values:
        return {"rows": 0}
    names = ("min", "p5", "median", "p95", "max")
    points = np.percentile(values, [0, 5, 50, 95, 100])
    return {"rows": len(values), "mean": round(float(np.mean(values)), 4),
            **{n: round(float(p), 4) for n, p in zip(names, points, strict=True)}}  # fmt: skip


def _histogram(measure: Measure, rows: Sequence[Row], lost: Lost) -> Histogram | None:
    return histogram(_values(measure, rows), _values(measure, (row for row, _ in lost)))


def worst(rows: Sequence[Row], most: int) -> list[tuple[str, Measure, list[Row]]]:
    """The rows at the ends of the measures, at most so many of each; a kind without numbers is left out."""
    measures, out = {m.name: m for m in MEASURES}, []
    for title, name, sign in WORST:
        of = measures[name].of
        known = [(value, row) for row in rows if (value := of(row)) is not None]
        if name in ("clipped_percent", "trimmed_seconds"):
            known = [(value, row) for value, row in known if value > 0]
        known.sort(key=lambda pair: (sign * pair[0], pair[1].id))
        if known and most:
            out.append((title, measures[name], [row for _, row in known[:most]]))
    return out


def write_report(cleaned: Cleaned, lost: Lost, config: CleanConfig, out: Path) -> None:
    """Writes OUT/report.html, report.json and measurements.jsonl (a line for every row). Raises OSError."""
    plain = summary(cleaned, lost, config)
    lines = (json.dumps(_measured(row), allow_nan=False) + "\n" for row in cleaned.rows)
    write_all({
        out / "report.json": (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode(),
        out / "measurements.jsonl": "".join(lines).encode(),
        out / "report.html": page(cleaned, lost, config, out).encode("utf-8", "replace"),
    })  # fmt: skip


def _measured(row: Row) -> dict[str, Any]:
    values = {m.name: v if (v := m.of(row)) is None else round(v, 4) for m in MEASURES}
    clip = row.clip
    source = {"source_rate": clip.source_rate, "channels": clip.channels, "format": clip.format,
              "subtype": clip.subtype, "gain_db": clip.gain_db, "notes": list(clip.notes)}  # fmt: skip
    heard = {} if row.heard is None else {"heard": row.heard.words, "reference": row.heard.reference}
    return {"id": row.id, "speaker": row.speaker, "split": row.split, **values, **source, **heard}


def page(cleaned: Cleaned, lost: Lost, config: CleanConfig, out: Path) -> str:
    """The whole page; players play the clips that lie beside it."""
    rows = cleaned.rows
    hours = sum(r.duration for r in rows) / 3600
    name = out.resolve().name
    parts = [
        f"<h1>Corpus {_escaped(name)}</h1>",
        f"<p><b>read {cleaned.read} = kept {len(rows)} + dropped {len(cleaned.dropped)}</b>; kept {hours:.2f} h of "
        f"{len(_speakers(rows))} speakers, {sum(r.split == 'valid' for r in rows)} utterances to validate with</p>",
        *_dropped(cleaned, lost, out), *_list("What was converted", cleaned.notes),
        "<h2>Distributions</h2>",
        '<p class="key"><b style="background:#0b61a4">kept</b> <b style="background:#b3261e">dropped, where it was '
        "measured</b> dashed: limits and targets; hold the pointer on a bar for its numbers</p>",
        _plots(rows, lost, config), _table(_NUMBERS, [_number_cells(m, rows) for m in MEASURES]),
        *_speaker_parts(rows), *_worst(rows, config, out),
        "<h2>Settings</h2>", _table(("clean.", "value"), [(k, _shown(v)) for k, v in to_plain(config).items()]),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{_escaped(f"Corpus {name}")}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _dropped(cleaned: Cleaned, lost: Lost, out: Path) -> list[str]:
    if not cleaned.dropped:
        return []
    sounds = {problem: row for row, problem in lost}
    parts = ["<h2>Dropped</h2>", _table(("reason", "items"), list(cleaned.reasons().items()))]
    for reason, count in cleaned.reasons().items():
        found = [p for p in cleaned.dropped if p.reason == reason]
        lines = [[_escaped(p.id), _escaped(p.detail), _player(sounds[p], out) if p in sounds else ""]
                 for p in found[:EXAMPLES]]  # fmt: skip
        more = f"<p>and {count - EXAMPLES} more: see items_dropped of report.json</p>" if count > EXAMPLES else ""
        parts.append(f"<details><summary>{_escaped(reason)} ({count})</summary>"
                     f"{_raw_table(('id', 'why', 'sound'), lines)}{more}</details>")  # fmt: skip
    return parts


def _plots(rows: Sequence[Row], lost: Lost, config: CleanConfig) -> str:
    figures = []
    for measure in MEASURES:
        data = _histogram(measure, rows, lost)
        if data:
            svg = draw_histogram(data, measure.title, measure.unit, measure.limits(config))
            figures.append(f"<figure><figcaption>{_escaped(measure.title)}</figcaption>{svg}</figure>")
    return f'<div class="plots">{"".join(figures)}</div>'


_NUMBERS = ("measure", "unit", "rows", "mean", "least", "5 %", "median", "95 %", "most")


def _number_cells(measure: Measure, rows: Sequence[Row]) -> list[str]:
    found = _numbers(measure, rows)
    numbers = [found.get(key) for key in ("mean", "min", "p5", "median", "p95", "max")]
    return [measure.title, measure.unit, f"{found['rows']}/{len(rows)}",
            *("-" if n is None else f"{n:.2f}" for n in numbers)]  # fmt: skip


def _speaker_parts(rows: Sequence[Row]) -> list[str]:
    found = _speakers(rows)
    bars = [(s, v["seconds"] / 3600, f"{v['seconds'] / 3600:.2f} h") for s, v in found.items()][:MOST_SPEAKERS]
    more = f"<p>the {MOST_SPEAKERS} speakers with the most of {len(found)}</p>" if len(found) > MOST_SPEAKERS else ""
    lines = [(s, v["utterances"], v["valid"], f"{v['seconds'] / 3600:.3f}") for s, v in found.items()]
    table = _table(("speaker", "utterances", "of them valid", "hours"), lines)
    return ["<h2>Speakers</h2>", draw_bars(bars, "hours by speaker", "hours"), more,
            f"<details><summary>as a table</summary>{table}</details>"]  # fmt: skip


def _worst(rows: Sequence[Row], config: CleanConfig, out: Path) -> list[str]:
    parts = []
    for title, measure, found in worst(rows, config.worst):
        lines = [
            [_escaped(r.id), _escaped(f"{measure.of(r):.2f} {measure.unit}"), _escaped(r.speaker), _escaped(r.text),
             _escaped(r.heard.words if r.heard else "-"), _player(r, out)]
            for r in found
        ]  # fmt: skip
        table = _raw_table(("id", "value", "speaker", "transcript", "heard", "sound"), lines)
        parts.append(f"<details><summary>{_escaped(title)}</summary>{table}</details>")
    return ["<h2>Worst of what was kept</h2>", *parts] if parts else []


def _player(row: Row, out: Path) -> str:
    address = quote(Path(os.path.relpath(row.audio, out)).as_posix())
    return f'<audio controls preload="none" src="{_escaped(address)}"></audio>'


def _list(title: str, sentences: Sequence[str]) -> list[str]:
    items = "".join(f"<li>{_escaped(s)}</li>" for s in sentences)
    return [f"<h2>{_escaped(title)}</h2><ul>{items}</ul>"] if sentences else []


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return _raw_table(header, [[_escaped(cell) for cell in row] for row in rows])


def _raw_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_escaped(h)}</th>" for h in header)
    lines = (f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n" + "\n".join(lines) + "</table>"


def _shown(value: object) -> str:
    return json.dumps(value)


def _escaped(value: object) -> str:
    return html.escape(str(value))
