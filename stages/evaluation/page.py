"""The report as one HTML page: no scripts, nothing from elsewhere, every text escaped; the sounds lie beside it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from stages.evaluation import report as told
from stages.evaluation.blame import culprit
from stages.evaluation.compare import NO_DIFFERENCE
from stages.evaluation.players import Player
from stages.evaluation.plots import Bar, forest, scatter
from stages.evaluation.scores import ItemScore, Row
from stages.evaluation.speed import peak_memory

if TYPE_CHECKING:
    from stages.evaluation.report import Report

Players = Mapping[tuple[int, int], Player]
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;padding:0 1em;max-width:75em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.2em .5em;text-align:left;
vertical-align:top}th{background:#eee;position:sticky;top:0}.bad td:first-child{border-left:4px solid #b3261e}
.warn{background:#fff3cd;padding:.4em .7em;border-left:4px solid #e0a800}.plots{display:flex;flex-wrap:wrap;gap:2em}
figure{margin:0}figcaption{font-weight:600}svg text{font:12px system-ui,sans-serif}audio{height:28px;width:200px}
img{display:block;height:60px;max-width:320px;image-rendering:pixelated}
.tabs>input{position:absolute;opacity:0}.tabs>label{display:inline-block;padding:.3em .8em;border:1px solid #ccc;
border-bottom:0;background:#eee;cursor:pointer;margin:0 .2em 0 0}.tabs>input:checked+label{background:#fff;
font-weight:600}.tabs>input:focus-visible+label{outline:2px solid #0b61a4}.tabs>section{display:none;
border-top:1px solid #ccc;overflow-x:auto}#body0 td:nth-child(2){min-width:14em}
"""


def page(report: Report, players: Players | None = None) -> str:
    """The whole page. Sentences with the most errors come first everywhere."""
    players = players or {}
    tabs = [("by sentence", _by_sentence(report, players))]
    tabs += [(f"{row.voice}: {row.system}", _section(report, n, row, players)) for n, row in enumerate(report.rows)]
    parts = [f"<h1>{_escaped(report.name)}</h1>", *_intro(report)]
    parts.append(_table(told.header(report), [told.cells(report, row) for row in report.rows]))
    parts += [_overview(report), *_blame(report), *_comparisons(report), "<h2>Sentences</h2>", _tabbed(tabs)]
    title, style = _escaped(f"Evaluation {report.name}"), STYLE + _tab_style(len(tabs))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{style}</style></head>'
        "<body>\n"
        + "\n".join(parts) + "\n</body></html>\n"
    )  # fmt: skip


def _intro(report: Report) -> list[str]:
    compared = f"sounds are compared with {report.reference}; " if report.reference else ""
    text = (
        f"{report.items} sentences, route {report.route.name}, preset {report.route.preset}, "
        f"seed {report.config.seed}, recogniser {report.config.recogniser}; {compared}"
        f"intervals are 95 % bootstrap; commit {told.commit()}, "
        f"peak memory {peak_memory() / 1e6:.0f} MB. A word that is missing is an error. Made by: {report.command}"
    )
    coverage, *rest = report.coverage().splitlines()
    return [f"<p><b>{_escaped(coverage)}</b></p>", *(f'<p class="warn">{_escaped(r)}</p>' for r in rest),
            f"<p>{_escaped(text)}</p>"]  # fmt: skip


def _overview(report: Report) -> str:
    several = len(report.voices) > 1
    bars = [
        Bar(f"{row.voice}/{row.system}" if several else row.system, 100 * row.wer, 100 * row.interval[0],
            100 * row.interval[1], f"{100 * row.wer:.1f} %")
        for row in report.rows
    ]  # fmt: skip
    return _figure("WER with its 95 % interval", forest(bars, "WER of every system", "WER %"))


def _scatters(report: Report) -> list[str]:
    """Sentence by sentence: every system that is compared with the baseline or the reference."""
    found = {(row.voice, row.system): row for row in report.rows}
    figures: list[str] = []
    for c in report.comparisons():
        if c.theirs in (report.reference, report.baseline):
            ours, theirs = found[c.voice, c.ours], found[c.voice, c.theirs]
            points = [(100 * a.wer, 100 * b.wer, b.id) for a, b in zip(theirs.items, ours.items, strict=True)]
            title = f"WER by sentence, {c.ours} against {c.theirs}"
            svg = scatter(points, title, f"{c.theirs}, WER %", f"{c.ours}, WER %")
            figures.append(_figure(f"{c.voice}: {c.ours} (red: worse than {c.theirs})", svg))
    return figures


def _blame(report: Report) -> list[str]:
    blame = report.blame()
    if not blame:
        return []
    bars = [
        Bar(f"{c.voice}: {c.name}" if len(report.voices) > 1 else c.name, 100 * c.wer.value, 100 * c.wer.low,
            100 * c.wer.high, f"{100 * c.wer.value:+.1f}  {c.wer.verdict}", c.wer.verdict == "worse")
        for c in blame
    ]  # fmt: skip
    return [
        "<h2>Which stage is to blame</h2>",
        "<p>Every stage's output is replaced by the truth in turn; a stage's cost is what the chain loses when the "
        "stage works in the place of the truth.</p>",
        _table(told.BLAME_HEADER, [told.blame_cells(c) for c in blame]),
        *(f"<p>{_escaped(c.voice)}: {_escaped(c.sentence)}.</p>" for c in blame),
        f"<p><b>{_escaped(culprit(blame))}</b></p>",
        _figure("Cost of every stage", forest(bars, "cost of every stage", "points of WER", 0.0)),
    ]


def _comparisons(report: Report) -> list[str]:
    found = report.comparisons()
    if not found:
        return []
    several = len(report.voices) > 1
    bars = [
        Bar(f"{c.voice}: {c.ours} − {c.theirs}" if several else f"{c.ours} − {c.theirs}", 100 * c.wer.value,
            100 * c.wer.low, 100 * c.wer.high, f"{100 * c.wer.value:+.1f}  {c.wer.verdict}",
            c.wer.verdict != NO_DIFFERENCE)
        for c in found
    ]  # fmt: skip
    plot = forest(bars, "differences of WER", "points of WER", 0.0)
    return [
        "<h2>Comparisons on the same sentences</h2>",
        _figure("Differences, paired (red: the interval does not hold 0)", plot),
        "<ul>", *(f"<li>{_escaped(c.sentence(report.columns))}</li>" for c in found), "</ul>",
        "<details><summary>sentence by sentence</summary>", '<div class="plots">', *_scatters(report), "</div>",
        "</details>",
    ]  # fmt: skip


def _section(report: Report, number: int, row: Row, players: Players) -> str:
    """One system: what is to be known of it, its numbers, its worst words and phones, and every sentence."""
    parts = [f'<p class="warn">{_escaped(note)}</p>' for note in row.notes]
    if row.speeds:
        speeds = [[s.stage, f"{s.seconds:.2f}", f"{s.audio_seconds:.2f}", told.shown(s.rtf, 3)] for s in row.speeds]
        parts.append(_table(["stage", "seconds of work", "seconds of speech", "RTF"], speeds))
    parts += _means(report, row)
    words = [[w.word, w.said, w.wrong, _heard(w.heard)] for w in row.worst]
    if words:
        parts.append(_folded("worst words", _table(["word", "said", "wrong", "heard as"], words)))
    if row.phones is not None:
        phones = [[p.phone, p.said, p.wrong, f"{100 * p.rate:.0f}", _heard(p.heard)] for p in row.phones.by_phone]
        table = _table(["phone", "said", "wrong", "%", "heard as"], phones)
        parts.append(_folded(f"worst phones ({100 * row.phones.rate:.1f} % wrong)", table))
    return "\n".join([*parts, _items(report, number, row, players)])


def _items(report: Report, number: int, row: Row, players: Players) -> str:
    order = sorted(range(len(row.items)), key=lambda n: (-row.items[n].wer, row.items[n].id))
    lines = [
        _line([_player(players.get((number, n))), *(_escaped(c) for c in _item_cells(report, row.items[n]))],
              row.items[n].wer > 0)
        for n in order
    ]  # fmt: skip
    head = ["sound", "id", "WER %", "text", "reference", "heard", "notes"]
    head += [*(c.title for c in report.shown_columns), "seconds"]
    return "\n".join([f"<table><tr>{''.join(f'<th>{_escaped(h)}</th>' for h in head)}</tr>", *lines, "</table>"])


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{_escaped(title)}</summary>{content}</details>"


def _heard(found: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{heard or '(nothing)'} ×{times}" for heard, times in found)


def _means(report: Report, row: Row) -> list[str]:
    """Every measure with its interval, and why items lack it."""
    lines = []
    for column in report.columns:
        mean = row.means.get(column.name)
        reasons = "; ".join(f"{n} × {reason}" for reason, n in row.missing(column.name).items())
        numbers = [told.shown(v, column.digits) for v in ((mean.value, mean.low, mean.high) if mean else (None,) * 3)]
        lines.append([column.title, numbers[0], f"{numbers[1]} to {numbers[2]}" if mean else "-",
                      row.measured(column.name), reasons])  # fmt: skip
    titles = {c.name: c.title for c in told.whole_columns(report)}
    lines += [[titles[name], told.shown(s.value, 3), "-", "all", s.reason] for name, s in row.whole.items()]
    return [_table(["measure", "mean", "95 % interval", "sentences", "not measured"], lines)] if lines else []


def _item_cells(report: Report, item: ItemScore) -> list[str]:
    scores = [(item.scores.get(c.name), c.digits) for c in report.shown_columns]
    own = [told.shown(s.value if s else None, digits) for s, digits in scores]
    return [item.id, f"{100 * item.wer:.0f}", item.text, item.reference, item.heard or "(nothing)",
            "; ".join(item.notes), *own, told.shown(item.seconds)]  # fmt: skip


def _by_sentence(report: Report, players: Players) -> str:
    """The same sentence from every system side by side, the ones with the most errors over all first."""
    if not report.rows:
        return ""
    items = report.rows[0].items
    order = sorted(range(len(items)), key=lambda n: (-sum(row.items[n].wer for row in report.rows), n))
    lines = []
    for n in order:
        cells = [_escaped(items[n].id), _escaped(items[n].text)]
        for number, row in enumerate(report.rows):
            heard = row.items[n].heard or "(nothing)"
            said = f"{100 * row.items[n].wer:.0f} % {_escaped(heard)}" if row.items[n].wer else "0 %"
            cells.append(f"{said}{_player(players.get((number, n)))}")
        lines.append(_line(cells, False))
    head = ["id", "text", *(f"{row.voice}: {row.system}" for row in report.rows)]
    return f"<table><tr>{''.join(f'<th>{_escaped(h)}</th>' for h in head)}</tr>" + "\n".join(lines) + "</table>"


def _player(player: Player | None) -> str:
    if player is None:
        return ""
    return (
        f'<audio controls preload="none" src="{_escaped(player.sound)}"></audio>'
        f'<img loading="lazy" alt="mel spectrogram" src="{_escaped(player.mel)}">'
    )


def _tabbed(tabs: Sequence[tuple[str, str]]) -> str:
    """Tabs without scripts: a radio button each, and the style shows the section of the one that is chosen."""
    heads = [
        f'<input type="radio" name="tab" id="tab{n}"{" checked" if n == 0 else ""}>'
        f'<label for="tab{n}">{_escaped(t)}</label>'
        for n, (t, _) in enumerate(tabs)
    ]
    bodies = [f'<section id="body{n}">{body}</section>' for n, (_, body) in enumerate(tabs)]
    return f'<div class="tabs">{"".join(heads)}{"".join(bodies)}</div>'


def _tab_style(count: int) -> str:
    return ",".join(f"#tab{n}:checked~#body{n}" for n in range(count)) + "{display:block}"


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{_escaped(caption)}</figcaption>{svg}</figure>" if svg else ""


def _line(cells: Iterable[str], bad: bool) -> str:
    mark = ' class="bad"' if bad else ""
    return f"<tr{mark}>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{_escaped(h)}</th>" for h in header)
    return (
        f"<table><tr>{head}</tr>\n" + "\n".join(_line([_escaped(c) for c in row], False) for row in rows) + "</table>"
    )


def _escaped(value: object) -> str:
    return html.escape(str(value))
