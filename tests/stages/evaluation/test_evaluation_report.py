"""What is said of the numbers: verdicts inside the interval, the blame, plots, and a page that runs nothing."""

import dataclasses
import re
import xml.dom.minidom

import numpy as np
import pytest

from stages.core.route import load_route
from stages.evaluation import blame, plots
from stages.evaluation.bench import Clip, Output, Sentence
from stages.evaluation.compare import compared, pairs, said
from stages.evaluation.measures import Column, Score
from stages.evaluation.page import page
from stages.evaluation.players import players
from stages.evaluation.run import evaluate, prepare
from stages.evaluation.scores import assess

MCD = Column("mcd", "MCD dB", "lower")
SENTENCES = [Sentence(f"{n}", "one two three four", "one two three four") for n in range(40)]


def row(system, wrong, mcd=None):
    """A system that misses a word in the first `wrong` of 40 sentences of 4 words."""
    heard = ["one two three" if n < wrong else "one two three four" for n in range(40)]
    scores = [Score(None, "no sound") if mcd is None or n == 0 else Score(mcd + n / 100) for n in range(40)]
    output = Output([Clip(None)] * 40)
    return assess("rms", system, SENTENCES, output, heard, {"mcd": scores}, {}, 0, 500)


def test_verdicts():
    assert [said(1, 2, "lower"), said(-2, -1, "lower"), said(-1, 1, "lower")] == ["worse", "better", "no difference"]
    assert [said(1, 2, "higher"), said(-2, -1, "higher"), said(0, 1, "higher")] == ["better", "worse", "no difference"]
    assert [said(1, 2, ""), said(-2, -1, ""), said(-1, 1, "")] == ["higher", "lower", "no difference"]


def test_comparison_is_paired_and_says_no_difference_inside_the_interval():
    found = compared(row("a", 20, 3.0), row("b", 2, 2.0), [MCD], 0, 500)
    assert found.wer.verdict == "worse" and found.wer.value == pytest.approx(18 / 160)
    assert found.measures["mcd"].value == pytest.approx(1.0) and found.measures["mcd"].items == 39
    close = compared(row("a", 3, 2.0), row("b", 2, 2.0), [MCD], 0, 500)
    assert close.wer.verdict == "no difference" and close.wer.low <= 0 <= close.wer.high
    assert "no difference" in close.sentence([MCD]) and close.measures["mcd"].low == 0.0 == close.measures["mcd"].high


def test_pairs():
    assert pairs(["teacher", "pipeline"], "teacher", "pipeline") == [("pipeline", "teacher")]
    assert pairs(["teacher", "a/fast", "a/slow"], "teacher", "a/fast") == [
        ("a/fast", "teacher"), ("a/slow", "a/fast"), ("a/slow", "teacher"),
    ]  # fmt: skip
    assert pairs(["mine", "theirs"], "", "mine") == [("theirs", "mine")]


def test_blame_adds_up_and_names_the_culprit(world):
    rungs = {s: row(s, n, m) for s, n, m in (
        ("teacher", 0, None), ("vocoder", 1, 0.5), ("diffusion", 20, 2.0), ("oracle", 21, 2.5), ("pipeline", 24, 2.5),
    )}  # fmt: skip
    found = blame.costs(rungs, load_route(), 0, 500)
    assert [cost.name for cost in found] == ["vocoder", "diffusion", "text + autoregressive", "rerank"]
    assert sum(cost.wer.value for cost in found) == pytest.approx(rungs["pipeline"].wer - rungs["teacher"].wer)
    assert sum(cost.mcd.value for cost in found) == pytest.approx(rungs["pipeline"].mean("mcd"))
    assert blame.culprit(found) == "most of the WER is lost in diffusion"
    assert found[1].sentence.startswith("diffusion costs +11.9 points of WER [") and found[0].wer.verdict == (
        "no difference"
    )
    del rungs["oracle"], rungs["diffusion"]
    found = blame.costs(rungs, load_route(), 0, 500)
    assert [cost.name for cost in found] == ["vocoder", "text + autoregressive + rerank + diffusion"]
    del rungs["vocoder"]
    assert blame.costs(rungs, load_route(), 0, 500) == []
    assert "no stage costs" in blame.culprit([])


def test_page_runs_nothing_loads_nothing_from_elsewhere_and_escapes_every_text(config):
    report = evaluate(prepare(config, ["systems=[teacher, pipeline, {name: '<i>evil</i>', preset: ultra_fast}]"]))
    first = report.rows[1]
    evil = dataclasses.replace(first.items[0], heard="<script>alert(1)</script>", error="a & <b>")
    report.rows[1] = dataclasses.replace(first, items=[evil, *first.items[1:]], notes=('<img src="x">',))
    text = page(report)
    assert "<script" not in text and "&lt;script&gt;" in text and "a &amp; &lt;b&gt;" in text
    assert "<i>" not in text and '<img src="x"' not in text and "http" not in text and "onload" not in text
    assert text.count("<svg") >= 3 and text.count('type="radio"') == 4


def test_players_are_files_beside_the_page_or_in_it(config, world):
    report = evaluate(prepare(config))
    out = world / "artifacts/reports/small"
    addresses = re.findall(r'src="([^"]+)"', (out / "report.html").read_text())
    assert addresses and all(re.fullmatch(r"sounds/\d+-\d+\.(ogg|png)", a) and (out / a).is_file() for a in addresses)
    assert len(list((out / "sounds").iterdir())) == 2 * 2 * 4
    embedded = page(report, players(report.rows, out, "embed"))
    assert 'src="data:audio/ogg;base64,' in embedded and not list((out / "sounds").iterdir())
    assert players(report.rows, out, "none") == {} and "<audio" not in page(report, {})


def test_worst_sentences_come_first(config):
    report = evaluate(prepare(config))
    changed = [dataclasses.replace(item, wer=w) for item, w in zip(report.rows[1].items, (0, 0.5, 2, 1), strict=True)]
    report.rows[1] = dataclasses.replace(report.rows[1], items=changed)
    section = page(report).partition('id="body2"')[2]
    assert re.findall(r"</td><td>(000\d)</td>", section) == ["0003", "0004", "0002", "0001"]


def test_plots_are_well_formed_and_escaped():
    bars = [plots.Bar("<a> & b", 5.0, 2.0, 9.0, "5 <"), plots.Bar("c", -1.0, -1.0, -1.0, "")]
    for svg in (
        plots.forest(bars, "t <", "u", 0.0),
        plots.scatter([(0, 0, "a<"), (0, 0, "b"), (250, 40, "c")], "t", "x", "y"),
    ):
        xml.dom.minidom.parseString(svg)
        assert "nan" not in svg
    assert plots.forest([], "t", "u") == "" == plots.scatter([], "t", "x", "y")


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1e-6), (-3.2, 47), (0, 100), (12, 12.5), (-1e3, 1e6)])
def test_axis_covers_with_round_values(low, high):
    ticks = plots.axis(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 8
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])
