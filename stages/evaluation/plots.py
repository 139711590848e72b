"""Plots as inline SVG, without scripts or other files. Every text is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, ROW, LEFT, RIGHT = 680, 22, 250, 150
INK, LINE, MARK, BAD = "#222", "#ccc", "#0b61a4", "#b3261e"


@dataclass(frozen=True)
class Bar:
    """A number with its interval."""

    name: str
    value: float
    low: float
    high: float
    said: str
    """what is written beside it"""
    strong: bool = False
    """its interval does not hold the line that it is compared with"""


def forest(bars: Sequence[Bar], title: str, unit: str, line: float | None = None) -> str:
    """A forest plot: one row per bar, value and interval on one axis; `line` is drawn across (0 for differences)."""
    if not bars:
        return ""
    ends = [v for b in bars for v in (b.low, b.high, b.value)] + ([line] if line is not None else [])
    ticks = axis(min(*ends, 0.0), max(*ends, 0.0))
    height = ROW * len(bars) + 50

    def x(value: float) -> float:
        return LEFT + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - LEFT - RIGHT)

    parts = [_grid(x(t), height - 36, f"{t:g}") for t in ticks]
    if line is not None:
        parts.append(f'<line x1="{x(line):.1f}" x2="{x(line):.1f}" y1="18" y2="{height - 30}" stroke="{INK}"/>')
    for number, bar in enumerate(bars):
        y, colour = 30 + ROW * number, BAD if bar.strong else MARK
        parts.append(text_at(LEFT - 8, y + 4, bar.name, "end"))
        parts.append(f'<line x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
                     'stroke-width="2"/>')  # fmt: skip
        parts.append(f'<circle cx="{x(bar.value):.1f}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(text_at(WIDTH - RIGHT + 8, y + 4, bar.said))
    parts.append(text_at((LEFT + WIDTH - RIGHT) / 2, height - 4, unit, "middle"))
    return svg(WIDTH, height, title, parts)


def scatter(points: Sequence[tuple[float, float, str]], title: str, across: str, up: str) -> str:
    """Sentence against sentence, (x, y, name) in percent, on one scale; below the diagonal the upward system is better.

    Equal points are drawn once, larger by the square root of their number.
    """
    if not points:
        return ""
    side, margin = 200, 46
    ticks = axis(0.0, max(100.0, *(v for p in points for v in p[:2])))
    groups: dict[tuple[float, float], list[str]] = {}
    for across_, up_, name in points:
        groups.setdefault((across_, up_), []).append(name)

    def place(value: float) -> float:
        return value / ticks[-1] * side

    parts = [f'<rect x="{margin}" y="10" width="{side}" height="{side}" fill="none" stroke="{LINE}"/>',
             f'<line x1="{margin}" y1="{10 + side}" x2="{margin + side}" y2="10" stroke="{LINE}"/>']  # fmt: skip
    for tick in ticks:
        parts.append(text_at(margin + place(tick), side + 24, f"{tick:g}", "middle"))
        parts.append(text_at(margin - 5, 14 + side - place(tick), f"{tick:g}", "end"))
    for (across_, up_), names in groups.items():
        colour = BAD if up_ > across_ else MARK
        said = f"{len(names)}: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        parts.append(
            f'<circle cx="{margin + place(across_):.1f}" cy="{10 + side - place(up_):.1f}" '
            f'r="{min(2.5 * math.sqrt(len(names)), 14):.1f}" fill="{colour}" fill-opacity="0.6">'
            f"<title>{html.escape(said)}</title></circle>"
        )
    parts.append(text_at(margin + side / 2, side + 40, across, "middle"))
    parts.append(f'<g transform="translate(12 {10 + side / 2}) rotate(-90)">{text_at(0, 0, up, "middle")}</g>')
    return svg(side + 2 * margin, side + 48, title, parts)


def axis(low: float, high: float, most: int = 6) -> list[float]:
    """Round values that cover [low, high], at most `most` + 1 of them: steps of 1, 2 or 5 times a power of ten."""
    width = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(width / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if width / (s * power) <= most - 1)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(n * step, 10) for n in range(first, max(last, first + 1) + 1)]


def _grid(x: float, bottom: float, label: str) -> str:
    line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{bottom + 4}" stroke="{LINE}"/>'
    return line + text_at(x, bottom + 18, label, "middle")


def text_at(x: float, y: float, text: str, anchor: str = "start") -> str:
    """One `text` element, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole picture with its title, which screen readers read."""
    return (
        f'<svg role="img" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
        f"<title>{html.escape(title)}</title>{''.join(parts)}</svg>"
    )
