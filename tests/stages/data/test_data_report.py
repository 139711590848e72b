import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from stages.data.cleaning import CleanConfig, Cleaned, Row
from stages.data.clips import Clip
from stages.data.mismatch import Heard
from stages.data.plots import draw_bars, draw_histogram, histogram
from stages.data.recording import Problem
from stages.data.report import summary, worst, write_report

EVIL = "<script>alert('x')</script> & \"quoted\""


def row(out, n, speaker="rms", **values):
    clip = {"audio": f"audio/{n}.flac", "bytes": 1, "mtime_ns": 1, "digest": "d", "sound": "s", "seconds": 1.0 + n,
            "start": 0.0, "source_seconds": 1.5 + n, "source_rate": 16000, "channels": 1, "format": "WAV",
            "subtype": "PCM_16", "peak_db": -3.0, "clipped": 0.0, "lufs": -20.0 - n, "gain_db": -3.0 + n,
            "snr_db": 30.0 + n, "notes": ()}  # fmt: skip
    clip = Clip(**{**clip, **values})
    return Row(f"id{n}", out / clip.audio, f"text {n}", speaker, "en", clip.seconds, "train", (), f"l:{n}", clip)


def made(out, rows, lost=(), problems=(), **config):
    cleaned = Cleaned(rows, [*problems, *(p for _, p in lost)], len(rows) + len(problems) + len(lost), ["a note"],
                      out / "report.html")  # fmt: skip
    write_report(cleaned, lost, CleanConfig(**config), out)
    return cleaned, json.loads((out / "report.json").read_text()), (out / "report.html").read_text()


class Page(HTMLParser):
    """Tags in order, the addresses in it, and its text; fails on a tag that does not close."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.text, self.open = [], [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href")]
        if tag not in ("meta", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_numbers_are_those_of_the_rows(tmp_path):
    rows = [row(tmp_path, n, "ab"[n % 2]) for n in range(5)]
    _, plain, page = made(tmp_path, rows, problems=[Problem("x", "l:9", "empty_text", "l:9: no transcript")])
    assert (plain["read"], plain["kept"], plain["dropped"]) == (6, 5, 1) and plain["reasons"] == {"empty_text": 1}
    seconds = plain["measures"]["seconds"]
    assert (seconds["min"], seconds["median"], seconds["max"], seconds["mean"], seconds["rows"]) == (1, 3, 5, 3, 5)
    assert plain["speakers"] == {"a": {"utterances": 3, "valid": 0, "seconds": 9.0},
                                 "b": {"utterances": 2, "valid": 0, "seconds": 6.0}}  # fmt: skip
    assert plain["worst"]["Longest"] == ["id4", "id3", "id2", "id1", "id0"]
    assert plain["worst"]["Noisiest"][0] == "id0" and plain["worst"]["Quietest before the gain"][0] == "id4"
    assert plain["measures"]["cer_percent"] == {"unit": "%", "rows": 0}  # nobody listened: no number
    assert all(sum(h["kept"]) == 5 for h in plain["histograms"].values()) and "cer_percent" not in plain["histograms"]
    lines = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    assert [m["seconds"] for m in lines] == [1, 2, 3, 4, 5] and {m["lufs"] for m in lines} == {-23.0}
    assert "read 6 = kept 5 + dropped 1" in Page(page).text


def test_rows_without_a_number_are_not_counted(tmp_path):
    rows = [row(tmp_path, 0, snr_db=None, lufs=None), row(tmp_path, 1)]
    _, plain, page = made(tmp_path, rows)
    assert plain["measures"]["snr_db"]["rows"] == 1 and plain["measures"]["lufs"]["rows"] == 1
    assert plain["worst"]["Noisiest"] == ["id1"] and "1/2" in page


def test_everything_is_escaped_and_nothing_comes_from_elsewhere(tmp_path):
    evil = Row(EVIL, tmp_path / "audio" / "a b#é.flac", EVIL, EVIL, "en", 2.0, "train", (), EVIL,
               row(tmp_path, 1).clip, Heard(EVIL, EVIL, 0.5))  # fmt: skip
    lost = [(evil, Problem(EVIL, EVIL, "clipped", EVIL))]
    _, _, text = made(tmp_path, [evil], lost, [Problem(EVIL, EVIL, EVIL, EVIL)], mismatch=0.9)
    page = Page(text)
    assert "script" not in page.tags and "link" not in page.tags and page.text.count("alert('x')") > 5
    assert page.sources and {unquote(s) for s in page.sources} == {"audio/a b#é.flac"}
    assert not any(s.startswith(("http", "/", "data")) or " " in s for s in page.sources)


def test_reasons_have_examples_and_say_how_many_more(tmp_path):
    problems = [Problem(f"p{n}", "x", "empty_text", f"x:{n}: none") for n in range(25)]
    _, plain, page = made(tmp_path, [row(tmp_path, 1)], problems=problems)
    assert "and 5 more" in page and "x:19: none" in page and "x:20: none" not in page
    assert len(plain["items_dropped"]) == 25


def test_an_empty_corpus_has_a_page(tmp_path):
    _, plain, page = made(tmp_path, [])
    assert plain["kept"] == 0 and plain["histograms"] == {} and Page(page)


def test_worst_is_as_long_as_asked(tmp_path):
    rows = [row(tmp_path, n) for n in range(5)]
    assert all(len(found) == 2 for _, _, found in worst(rows, 2)) and worst(rows, 0) == []
    assert "Most samples at full scale" not in [title for title, _, _ in worst(rows, 3)]
    assert summary(Cleaned(rows, [], 5, [], Path("x")), [], CleanConfig(worst=1))["worst"]["Longest"] == ["id4"]


def test_histograms_hold_every_value():
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e4):
        kept, dropped = (scale * rng.standard_normal(n) for n in (500, 30))
        found = histogram(kept, dropped)
        assert (sum(found.kept), sum(found.dropped)) == (500, 30) and len(found.edges) == len(found.kept) + 1
        assert 8 <= len(found.kept) <= 42 and found.edges == sorted(found.edges)
        assert Page(draw_histogram(found, "<t>", "<u>", (0.0, None, 1e9))).text.count("<u>") > 8
    assert histogram([]) is None
    with pytest.raises(ValueError, match="not finite"):
        histogram([float("nan")])


@pytest.mark.parametrize("values", [[3.0], [0.0] * 9, [-23.0, -23.0], [1e6]])
def test_values_that_are_all_the_same_have_a_histogram(values):
    found = histogram(values)
    assert sum(found.kept) == len(values) and "nan" not in draw_histogram(found, "t", "u")


def test_bars():
    page = Page(draw_bars([("<a>", 2.0, "2 h"), ("b" * 99, 0.0, "0 h")], "t", "hours"))
    assert "<a>" in page.text and page.tags.count("rect") == 1 and draw_bars([], "t", "u") == ""
