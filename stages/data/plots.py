"""Histograms and bars as inline SVG, without scripts or other files. Every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.evaluation.plots import axis, svg, text_at

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 430, 210, 46, 40, 12
KEPT, DROPPED, INK, LINE = "#0b61a4", "#b3261e", "#222", "#ddd"
MOST_BINS = 40


@dataclass(frozen=True)
class Histogram:
    """How often which values came."""

    edges: list[float]
    """(N + 1,) ascending and round"""
    kept: list[int]
    """(N,) values in [edges[i], edges[i + 1]), the last bin closed"""
    dropped: list[int]


def histogram(kept: Sequence[float], dropped: Sequence[float] = ()) -> Histogram | None:
    """Bins of one round width over all values; None without any. Raises ValueError: a value is not finite."""
    values = np.array([*kept, *dropped], dtype=np.float64)
    if not len(values):
        return None
    if not np.isfinite(values).all():
        raise ValueError("a histogram of values that are not finite")
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6 * max(abs(high), 1.0):  # all are the same
        low, high = low - 0.5, high + 0.5
    edges = np.array(axis(low, high, most=MOST_BINS))
    counts = [np.histogram(np.array(part, dtype=np.float64), edges)[0].tolist() for part in (kept, dropped)]
    return Histogram(edges.tolist(), counts[0], counts[1])


def draw_histogram(data: Histogram, title: str, unit: str, limits: Sequence[float | None] = ()) -> str:
    """The kept in blue, the dropped in red on top of them; `limits` are drawn across where they are in sight."""
    low, high = data.edges[0], data.edges[-1]
    totals = [a + b for a, b in zip(data.kept, data.dropped, strict=True)]
    ticks = axis(0.0, max(totals), most=5)

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - 14)

    def y(count: float) -> float:
        return HEIGHT - BOTTOM - count / ticks[-1] * (HEIGHT - BOTTOM - TOP)

    parts = [_line(LEFT, WIDTH - 14, y(t), y(t), LINE) + text_at(LEFT - 5, y(t) + 4, f"{t:g}", "end") for t in ticks]
    parts += [text_at(x(t), HEIGHT - BOTTOM + 16, f"{t:g}", "middle") for t in axis(low, high) if low <= t <= high]
    for n, (kept, dropped) in enumerate(zip(data.kept, data.dropped, strict=True)):
        span = f"{data.edges[n]:g} to {data.edges[n + 1]:g} {unit}"
        left, width = x(data.edges[n]), x(data.edges[n + 1]) - x(data.edges[n])
        parts.append(_bar(left, y(kept), width, y(0) - y(kept), KEPT, f"{span}: {kept} kept"))
        parts.append(_bar(left, y(kept + dropped), width, y(kept) - y(kept + dropped), DROPPED,
                          f"{span}: {dropped} dropped"))  # fmt: skip
    parts += [_line(x(v), x(v), TOP, y(0), INK, ' stroke-dasharray="4 3"') for v in limits if v and low <= v <= high]
    parts.append(text_at((LEFT + WIDTH - 14) / 2, HEIGHT - 6, unit, "middle"))
    return svg(WIDTH, HEIGHT, title, parts)


def draw_bars(bars: Sequence[tuple[str, float, str]], title: str, unit: str) -> str:
    """One row per (name, value, what is written beside it), from 0 to the right."""
    if not bars:
        return ""
    left, width, row = 180, 640, 20
    ticks = axis(0.0, max(*(value for _, value, _ in bars), 1e-3))
    height = row * len(bars) + 44

    def x(value: float) -> float:
        return left + value / ticks[-1] * (width - left - 130)

    parts = [_line(x(t), x(t), 4, height - 36, LINE) + text_at(x(t), height - 22, f"{t:g}", "middle") for t in ticks]
    for n, (name, value, said) in enumerate(bars):
        shown = name if len(name) <= 24 else name[:23] + "…"
        parts.append(text_at(left - 6, row * n + 18, shown, "end"))
        parts.append(_bar(left, row * n + 8, x(value) - left, row - 8, KEPT, f"{name}: {said}"))
        parts.append(text_at(x(value) + 6, row * n + 18, said))
    parts.append(text_at(left, height - 6, unit))
    return svg(width, height, title, parts)


def _bar(x: float, y: float, width: float, height: float, colour: str, said: str) -> str:
    if height <= 0 or width <= 0:
        return ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width - 1, 1):.1f}" height="{height:.1f}" fill="{colour}">'
        f"<title>{html.escape(said)}</title></rect>"
    )


def _line(x1: float, x2: float, y1: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>'
