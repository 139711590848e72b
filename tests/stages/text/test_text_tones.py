"""Tones: the stress of words that are listed, formed, guessed, spelled or a user's own; phones stay as they were."""

import pytest

from stages.core import codecs
from stages.core.symbols import VOWELS
from stages.core.types import NO_TONE, PRIMARY, SECONDARY, TONES, UNSTRESSED, Phonemes, Tones, Word
from stages.text.g2p import EXTRA, G2P, LETTERS
from stages.text.lexicon import bare
from stages.text.stage import TextConfig, TextStage
from stages.text.stress.config import StressConfig
from stages.text.stress.stage import StressStage
from stages.text.tones import WordTones, tones_of_marked, tones_of_said

MARKS = {NO_TONE: "", PRIMARY: "1", SECONDARY: "2", UNSTRESSED: "0"}


@pytest.fixture(scope="module")
def text():
    return TextStage.load(TextConfig())


@pytest.fixture(scope="module")
def find():
    return WordTones()


def shown(symbols, tones):
    return " ".join(s + MARKS[t] for s, t in zip(symbols, tones, strict=True))


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Hello, photograph.", "pau hh ax0 l ow1 pau f ow1 t ax0 g r ae2 f pau"),
        ("the record", "pau dh ax0 r eh1 k er0 d pau"),
        ("to record the apple", "pau t ax0 r ih0 k ao1 r d dh iy0 ae1 p ax0 l pau"),
        ("doorstoppers", "pau d ao1 r s t aa2 p er0 z pau"),  # a compound of two listed words
        ("reheated cats'", "pau r iy0 hh iy1 t ax0 d k ae1 t s pau"),
        ("blorfing", "pau b l ao1 r f ih0 ng pau"),  # guessed
        ("W. GPT's", "pau d ah1 b ax0 l y uw0 jh iy2 p iy2 t iy1 z pau"),
        ("[[k ae t ax]]", "pau k ae t ax pau"),  # nobody knows
    ],
)
def test_stress_by_where_the_phones_are_from(sentence, expected, text):
    phonemes = text.run([{str: sentence}])[0]
    found = StressStage.load(StressConfig()).run([{Phonemes: phonemes}])[0]
    assert shown(phonemes.symbols, found.tones) == expected


def test_marked_words_are_the_same_words():
    plain, marked = G2P(), G2P(marked=True)
    words = [*EXTRA, "hello", "photograph", "doorstoppers", "untidiness", "zorbification", "grrr", "dogs'", "it'd"]
    for word in words:
        assert bare(marked.out_of_lexicon(word)) == plain.out_of_lexicon(word)
        assert plain.out_of_lexicon(word) == bare(plain.out_of_lexicon(word))
    for letter in LETTERS:
        assert bare(marked.letter(letter.upper())) == plain.letter(letter.upper()) == LETTERS[letter]


def test_a_users_pronunciation_has_the_stress_of_the_usual_one(find):
    assert find(Word("tomato", ("t", "ax", "m", "aa", "t", "ow"))) == (0, 3, 0, 1, 0, 3)
    assert find(Word("tomato", ("t", "ow"))) == (0, 0)  # another number of vowels: not known
    assert tones_of_marked(("ae1", "b", "eh1", "ax2", "er")) == (1, 0, 2, 2, 3)


def test_what_was_said_otherwise(find):
    words = [Word("the", ("dh", "ax")), Word("apple", ("ae", "p", "ax", "l")), Word("tree", ("t", "r", "iy"))]
    same = "pau dh ax ae p ax l pau t r iy pau".split()
    assert shown(same, tones_of_said(same, words, find)) == "pau dh ax0 ae1 p ax0 l pau t r iy1 pau"
    other = "pau dh iy aa p ax l t r iy ih ax pau".split()
    assert shown(other, tones_of_said(other, words, find)) == "pau dh iy0 aa1 p ax0 l t r iy1 ih ax0 pau"
    assert tones_of_said(["pau", "iy", "pau"], [], find) == [0, 0, 0] and tones_of_said([], words, find) == []


def test_every_tone_is_in_the_table_and_kept(text, find):
    phonemes = text.run([{str: "Twenty unbelievable kangaroos photographed the municipality's banana."}])[0]
    tones = StressStage.load(StressConfig()).run([{Phonemes: phonemes}])[0]
    for symbol, tone in zip(phonemes.symbols, tones.tones, strict=True):
        assert (tone != NO_TONE) == (symbol in VOWELS) and 0 <= tone < TONES
    assert codecs.decode(Tones, *codecs.encode(tones)) == tones
