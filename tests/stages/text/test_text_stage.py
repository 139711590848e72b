"""The text stage as a whole: phones, pauses, overrides, user lexicon, odd input, sentence splitting."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

from stages.core import symbols
from stages.text.lexicon import read_user_lexicon
from stages.text.sentences import split_sentences, spoken_length
from stages.text.stage import NothingToSay, TextConfig, TextStage


@pytest.fixture(scope="module")
def stage() -> TextStage:
    return TextStage.load(TextConfig(), "cpu")


def phones(text: str, stage: TextStage) -> str:
    return " ".join(stage.run([{str: text}], seeds=None)[0].symbols[1:-1])


def check(result):
    assert result.symbols[0] == result.symbols[-1] == "pau"
    assert not any(a == b == "pau" for a, b in zip(result.symbols, result.symbols[1:], strict=False))
    assert all(word.phones for word in result.words)
    assert [p for w in result.words for p in w.phones] == [s for s in result.symbols if s != "pau"]
    assert len(symbols.ids(result.symbols)) == len(result.symbols)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("little button measure", "l ih t ax l b ah t ax n m eh zh er"),
        ("a car, poor north bear", "ax k aa r pau p uh r n ao r th b eh r"),
        ("roses wanted village", "r ow z ax z w aa n t ax d v ih l ax jh"),
        ("I am B. A dog", "ay ae m b iy pau ax d ao g"),
        ("dog's cat's Liz's", "d ao g z k ae t s l ih z ax z"),
        ("FBI's", "eh f b iy ay z"),
    ],
)
def test_phones(text, expected, stage):
    assert phones(text, stage) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ChatGPT", "ch ae t jh iy p iy t iy"),
        ("Caretta", "k ax r eh t ax"),
        ("blorfing", "b l ao r f ih ng"),
        ("grrr", "jh iy aa r aa r aa r"),
        ("doorstoppers", "d ao r s t aa p er z"),
    ],
)
def test_out_of_lexicon(word, expected, stage):
    assert phones(word, stage) == expected


def test_xylophonists(stage):
    spoken = phones("xylophonists", stage)
    assert spoken.startswith("z ay l ")
    assert spoken.endswith("n ih s t s")


def test_override(stage):
    result = stage.run([{str: "Say [[ hh ax l ow ]] to GPT."}], seeds=None)[0]
    assert result.words[1].phones == ("hh", "ax", "l", "ow")
    check(result)
    with pytest.raises(ValueError, match="'oww' is not a phone; did you mean 'ow'"):
        stage.run([{str: "[[ hh oww ]]"}], seeds=None)
    with pytest.raises(ValueError, match="no phones"):
        stage.run([{str: "[[ ]]"}], seeds=None)


@pytest.mark.parametrize(
    ("line", "message"),
    [("foo", "has no phones"), ("foo f uww", "'uww' is not a phone"), ("ok ow k ey\nok k ey", ":2: 'ok' is already"),
     ("fo1 f ow", "not one word of letters"), ("foo pau f", "leave it out")],
)  # fmt: skip
def test_user_lexicon_errors(tmp_path, line, message):
    path = tmp_path / "words.txt"
    path.write_text(line)
    with pytest.raises(ValueError, match=message) as caught:
        read_user_lexicon(path)
    assert str(path) in str(caught.value)


def test_user_lexicon_wins(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# mine\nTomato t ax m aa t ow  # British\n\n")
    stage = TextStage.load(TextConfig(lexicon=str(path)), "cpu")
    assert phones("A tomato.", stage) == "ax t ax m aa t ow"
    with pytest.raises(ValueError, match="cannot be read"):
        read_user_lexicon(tmp_path / "absent.txt")


def test_config_errors(monkeypatch):
    with pytest.raises(ValueError, match="use 'lexicon' or 'espeak'"):
        TextStage.load(TextConfig(g2p="magic"), "cpu")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="install"):
        TextStage.load(TextConfig(g2p="espeak"), "cpu")


def test_espeak_is_asked_for_words(tmp_path, monkeypatch):
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\necho ' həlˈoʊ'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    stage = TextStage.load(TextConfig(g2p="espeak"), "cpu")
    assert phones("Hello B", stage) == "hh ax l ow b iy"


@pytest.mark.parametrize("text", ["", "   ", "...", "😀🎉", "?!", "Привет", '"', "\u200b"])
def test_nothing_to_say(text, stage):
    with pytest.raises(NothingToSay, match="nothing to say"):
        stage.run([{str: text}], seeds=None)


def _fuzz(rng: random.Random) -> str:
    pools = [
        "abcXYZ 'é",
        "0123456789.,-/:$%",
        " \t\n.,;!?()[]{}\"'—…",
        "😀Жאあ漢\u200b\ue000\U000f0001",
        "&+=@#*~<>|\\^_`°²½€£",
        "Dr. St. II ",
    ]
    return "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 60)))


def test_fuzz_words_in_are_words_out(stage):
    rng = random.Random(11)
    for _ in range(300):
        text = _fuzz(rng).replace("[[", "[").replace("[[", "[")
        try:
            check(stage.run([{str: text}], seeds=None)[0])
        except NothingToSay:
            assert not any(char.isascii() and char.isalnum() for char in text)


@pytest.mark.parametrize(
    "unit", ["a", "1", "A", "1,", "a-", "$1.", "@a.", "A.", "'", "1/", "1:", "<a", "a1", "aB", "St. "]
)
def test_long_runs_take_no_exponential_time(unit, stage):
    start = time.perf_counter()
    try:
        stage.run([{str: unit * 400}], seeds=None)
    except NothingToSay:
        pass
    assert time.perf_counter() - start < 2


def test_same_text_same_phones_whatever_the_batch(stage):
    texts = ["I read it.", "Dr. Smith paid $3.50.", "The wind is strong."]
    together = stage.run([{str: t} for t in texts], seeds=[1, 2, 3])
    assert together == [stage.run([{str: text}], seeds=[9])[0] for text in texts]
    assert together == TextStage.load(TextConfig(), "cpu").run([{str: t} for t in texts], seeds=None)


def test_no_torch_and_no_work_at_import():
    code = "import sys, stages.text.stage, stages.text.sentences\n"
    code += "print('torch' in sys.modules, 'pycrfsuite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Dr. Smith lives on Main St. He is old.", 2),
        ("It costs $3.50. That is a lot.", 2),
        ("He said “Stop!” and left. She stayed.", 2),
        ("I met J. K. Rowling. She waved.", 2),
        ("At 5 p.m. we left. At 6 p.m. The show began.", 3),
        ("Wait... what? Yes.", 2),
        ("One\n\nTwo", 2),
        ("Acme Inc. was sold. See e.g. Jones.", 2),
        ("No. 5 is alive.", 1),
        ("Hello [[ hh ax. l ow ]] there. Bye.", 2),
        ("... Hello. !!! 😀 Bye.", 2),
        ("", 0),
    ],
)
def test_split_sentences(text, count):
    pieces = split_sentences(text)
    assert len(pieces) == count, pieces
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_over_long_sentences_are_cut_at_the_best_place():
    text = "When the rain had stopped and the sun came out, " * 6 + "we went home."
    pieces = split_sentences(text)
    assert len(pieces) > 2
    assert all(spoken_length(piece) <= 28 for piece in pieces)
    assert all(piece.endswith((",", ".")) for piece in pieces)
    assert all(spoken_length(piece) <= 28 for piece in split_sentences("word " * 500))


@pytest.mark.parametrize(
    "unit", ["This is a sentence, and it is short. ", "word ", "1 ", ". ", "Dr. ", "[[", "[[ hh ax ]] ", "😀 "]
)
def test_a_long_text_is_split_fast_and_whole(unit):
    text = (unit * 100_000)[:100_000]
    start = time.process_time()
    pieces = split_sentences(text)
    assert time.process_time() - start < 2
    assert "".join("".join(pieces).split()) == "".join(text.split())
