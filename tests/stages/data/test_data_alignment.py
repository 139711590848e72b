"""Forced alignment: exact paths, timings of whole shape, real speech by both aligners, rows that cannot be aligned."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.core.artifacts import ArtifactStore
from stages.core.audio import read_audio, write_audio
from stages.core.types import PAUSE
from stages.data import alignment
from stages.data.aligners import AlignConfig, NotAligned, Segment, best_path, make_aligner, timings
from stages.data.alignment import align
from stages.text.stage import TextConfig, TextStage

ROOT = Path(__file__).resolve().parents[3]
CLIP = ROOT / "artifacts/voices/rms/clip.flac"
SAID = "The birch canoe slid on the smooth planks, and the sun came up."
OTHER = "Whoever finds my yellow umbrella should return it to the library before Thursday evening."
TOKENIZER = AlignConfig(aligner="tokenizer", tokenizer=str(ROOT / "artifacts/starter/codes"))


@dataclass(frozen=True)
class Row:
    id: str
    audio: Path
    text: str
    phones: tuple = ()


@pytest.fixture(scope="module")
def text():
    stage = TextStage.load(TextConfig())
    return lambda sentence: stage.run([{str: sentence}])[0]


@pytest.fixture(scope="module")
def sphinx():
    return make_aligner(AlignConfig())


def check_shape(found, phonemes, seconds):
    ends = [end for _, end in found]
    assert found[0][0] == found[-1][0] == PAUSE and ends[-1] == pytest.approx(seconds, abs=1e-4)
    assert (np.diff([0, *ends]) > 0).all()
    assert [p for p, _ in found if p != PAUSE] == [p for word in phonemes.words for p in word.phones]
    assert not any(a == b == PAUSE for (a, _), (b, _) in zip(found, found[1:], strict=False))


def test_aligners_agree_on_real_speech(text, sphinx):
    phonemes = text(SAID)
    found = []
    for aligner in (sphinx, make_aligner(TOKENIZER)):
        samples = read_audio(CLIP, aligner.rate)
        found.append(aligner(samples, phonemes))
        check_shape(found[-1], phonemes, len(samples) / aligner.rate)
        with pytest.raises(NotAligned):
            aligner(samples, text(OTHER))
        assert aligner(samples, phonemes) == found[-1]  # what came before leaves no trace
    a, b = (np.array([end for phone, end in one if phone != PAUSE]) for one in found)
    assert np.median(np.abs(a - b)) < 0.015 and np.abs(a - b).mean() < 0.03


def test_a_pause_in_the_sound_is_found(text, sphinx):
    samples = read_audio(CLIP, 16000)
    plain = sphinx(samples, text(SAID))
    cut = int(
        16000
        * next(end for n, (_, end) in enumerate(plain) if [p for p, _ in plain[n - 4 : n + 1]] == "l ae ng k s".split())
    )
    quiet = np.random.default_rng(0).normal(0, 1e-4, 8000).astype(np.float32)
    found = sphinx(np.concatenate([samples[:cut], quiet, samples[cut:]]), text(SAID))
    inner = [(end, before) for (_, before), (p, end) in zip(found, found[1:-1], strict=False) if p == PAUSE]
    assert len(inner) == 1 and inner[0][0] - inner[0][1] == pytest.approx(0.5, abs=0.12)


def test_best_path_visits_every_state_in_order_and_passes_over_optional_ones():
    emission = np.log(np.full((6, 4), 0.1))
    for step, state in enumerate([0, 0, 1, 3, 3, 3]):
        emission[step, state] = np.log(0.7)
    optional = np.array([False, False, True, False])
    path, score = best_path(emission, optional)
    assert path.tolist() == [0, 0, 1, 3, 3, 3] and score == pytest.approx(np.log(0.7))
    path, score = best_path(emission, np.zeros(4, bool))
    assert sorted(set(path.tolist())) == [0, 1, 2, 3] and score < np.log(0.7)
    with pytest.raises(NotAligned, match="shorter than its text"):
        best_path(emission[:2], optional)


def test_best_path_is_the_best_of_all():
    rng = np.random.default_rng(0)
    optional = np.array([False, True, False, False])

    def paths(steps):
        for code in range(4**steps):
            path = [code // 4**n % 4 for n in range(steps)]
            moves = [(a, b) for a, b in zip(path, path[1:], strict=False)]
            if path[0] == 0 and path[-1] == 3 and all(b - a in (0, 1) or (b == 2 and a == 0) for a, b in moves):
                yield path

    for _ in range(20):
        emission = rng.normal(size=(6, 4))
        best = max(paths(6), key=lambda path: sum(emission[n, s] for n, s in enumerate(path)))
        found, score = best_path(emission, optional)
        assert found.tolist() == best and score == pytest.approx(sum(emission[n, s] for n, s in enumerate(best)) / 6)


def test_timings_have_a_pause_at_both_ends_and_no_short_ones():
    segments = [Segment("t", 0, 0.2), Segment(PAUSE, 0.2, 0.22), Segment("uw", 0.22, 0.5), Segment(PAUSE, 0.5, 0.6)]
    assert timings(segments, 0.61, 0.03) == ((PAUSE, 0.01), ("t", 0.22), ("uw", 0.5), (PAUSE, 0.61))
    assert timings(segments[:3], 0.5, 0.03) == ((PAUSE, 0.01), ("t", 0.22), ("uw", 0.49), (PAUSE, 0.5))
    assert timings([Segment(PAUSE, 0, 0.1), Segment("ay", 0.1, 0.3)], 0.3, 0.0)[0] == (PAUSE, 0.1)
    with pytest.raises(NotAligned, match="do not fit"):
        timings([Segment("t", 0, 0.2), Segment("uw", 0.2, 0.2), Segment("t", 0.2, 0.3)], 0.3, 0.03)


def rows(folder):
    """One row that fits, and every kind that does not."""
    sound = folder / "a.flac"
    shutil.copy(CLIP, sound)
    (folder / "broken.wav").write_bytes(b"RIFF no sound")
    write_audio(folder / "silence.wav", np.zeros(16000, np.float32), 16000)
    write_audio(folder / "short.wav", read_audio(CLIP, 16000)[:1600], 16000)
    soundfile.write(folder / "b.wav", np.repeat(read_audio(CLIP, 16000), 3), 48000)
    return [
        Row("good", sound, SAID),
        Row("known", folder / "none.wav", "Hi.", ((PAUSE, 0.1), ("ay", 0.2))),
        Row("wrong", sound, OTHER),
        Row("broken", folder / "broken.wav", SAID),
        Row("gone", folder / "gone.wav", SAID),
        Row("silence", folder / "silence.wav", SAID),
        Row("short", folder / "short.wav", SAID),
        Row("words", sound, "?!"),
        Row("rate", folder / "b.wav", SAID),
    ]


def test_a_bad_row_is_a_problem_and_stops_nothing(tmp_path, text):
    told = []
    found = align(rows(tmp_path), workers=1, progress=lambda *numbers: told.append(numbers))
    assert set(found.phones) == {"good", "known", "rate"} and told == [(8, 8)]
    assert found.phones["known"] == ((PAUSE, 0.1), ("ay", 0.2))
    check_shape(found.phones["good"], text(SAID), 64880 / 16000)
    reasons = {p.id: p.reason for p in found.problems}
    assert reasons == {
        "wrong": "not_aligned", "silence": "not_aligned", "short": "not_aligned", "words": "not_aligned",
        "broken": "unreadable_audio", "gone": "unreadable_audio",
    }  # fmt: skip
    assert all(p.detail.startswith(f"{p.id}: ") and "\n" not in p.detail for p in found.problems)


def test_alignments_are_kept_by_content(tmp_path, monkeypatch):
    store, all_rows = ArtifactStore(tmp_path / "store"), rows(tmp_path)
    first = align(all_rows, store=store, workers=1)
    monkeypatch.setattr(alignment, "_computed", lambda *_: pytest.fail("computed again"))
    again = align([r for r in all_rows if r.audio.suffix == ".flac" and not r.phones], store=store, workers=1)
    assert again.phones == {"good": first.phones["good"]} and [p.id for p in again.problems] == ["wrong", "words"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"aligner": "mfa"}, "use one of pocketsphinx, tokenizer"),
        ({"aligner": "tokenizer"}, "needs tokenizer: the folder"),
        ({"shortest_pause": -1.0}, "shortest_pause must be 0"),
    ],
)
def test_bad_configs(values, message):
    with pytest.raises(ValueError, match=message):
        AlignConfig(**values)
