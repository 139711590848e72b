"""A book becomes chapters and loses no word."""

import random
import re
import time

import pytest

from stages.text.chapters import Chapter, split_chapters


def titles(text):
    return [chapter.title for chapter in split_chapters(text)]


def words(text):
    return re.findall(r"\w+", text.lower())


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("# The Fog", "The Fog"),
        ("## The *Fog* of _War_ ##", "The Fog of War"),
        ("# C#", "C#"),
        ("The Fog\n=======", "The Fog"),
        ("The Fog\n---", "The Fog"),
        ("Chapter 7", "Chapter 7"),
        ("CHAPTER VII. The Fog", "Chapter VII. The Fog"),
        ("chapter vii", "chapter vii"),
        ("Chapter Twenty-One: The Fog", "Chapter Twenty-One: The Fog"),
        ("CHAPTER THE FIRST", "Chapter THE FIRST"),
        ("CHAPTER I\nTHE FOG", "Chapter I. THE FOG"),
        ("Chapter 7 — The Fog.", "Chapter 7 — The Fog."),
        ("Chapter 7 The Fog", "Chapter 7 The Fog"),
        ("**Chapter 7**", "Chapter 7"),
        ("Part One", "Part One"),
        ("BOOK II", "Book II"),
        ("Prologue", "Prologue"),
        ("EPILOGUE", "Epilogue"),
        ("# [The Fog](fog.html)", "The Fog"),
    ],
)
def test_headings(heading, title):
    text = f"Before.\n\n{heading}\n\nAfter it."
    assert split_chapters(text) == [Chapter(None, "Before."), Chapter(title, "After it.")]
    assert split_chapters(text.replace("\n", "\r\n")) == split_chapters(text)


@pytest.mark.parametrize(
    "line",
    [
        "Chapter 7 was the hardest to write.",
        "Part one of the plan was done",
        "Part of the plan was done.",
        "Introduction to it.",
        "Chapter I ........ 5",
        "Chapter I   5",
        "Chapter 7\nbegan on a long line of prose, which went\non and on.",
        "He had read\nChapter 7",
        "#1 of all",
        "Bookends",
        "Chapter 7: " + "word " * 30,
        "```\n# a comment\n```",
    ],
)
def test_what_is_no_heading(line):
    assert titles(f"Before.\n\n{line}\n\nAfter it.") == [None]


def test_paragraphs_are_unwrapped_and_parted():
    text = "A line\nthat is wrap-\nped--\n  here.\n\n\n* * *\nNext.\n***\nThen\n\n---\n\n⁂\n\n#\n\nEnd - or > not."
    assert split_chapters(text) == [
        Chapter(None, "A line that is wrap-ped-- here.\n\nNext.\n\nThen\n\nEnd - or > not.")
    ]
    assert split_chapters("> quoted - so\n> twice\n\n- one\n- two\n  more") == [
        Chapter(None, "quoted - so twice\n\none\n\ntwo more")
    ]
    assert split_chapters("See [the fog](http://x.y/z) and ![a map](map.png).") == [
        Chapter(None, "See the fog and a map.")
    ]


def test_only_the_level_that_repeats_parts_a_markdown_book():
    text = "# My Book\n\n## The Fog\n\na\n\n### Night\n\nb\n\n## The Sea\n\nc"
    assert split_chapters(text) == [Chapter("My Book. The Fog", "a\n\nNight\n\nb"), Chapter("The Sea", "c")]
    assert titles("# Part One\n\n## The Fog\n\na\n\n## The Sea\n\nb\n\n# Part Two\n\n## The End\n\nc") == [
        "Part One. The Fog", "The Sea", "Part Two. The End",
    ]  # fmt: skip
    assert titles("# A\n\n## Chapter 1\n\na\n\n## Chapter 2\n\nb\n\n# B\n\nc") == ["A. Chapter 1", "Chapter 2", "B"]


@pytest.mark.parametrize("gap", ["\n", "\n\n"])
def test_a_table_of_contents_is_no_run_of_empty_chapters(gap):
    names = ["Part One", "Chapter 1", "Chapter 2", "Part Two", "Chapter 3"]
    body = "Part One\n\nChapter 1\n\na\n\nChapter 2\n\nb\n\nPart Two\n\nChapter 3\n\nc\n"
    for between in ("", "by Someone\n\n"):
        chapters = split_chapters("Contents\n\n" + gap.join(names) + "\n\n" + between + body)
        assert [chapter.title for chapter in chapters] == [
            None, "Part One. Chapter 1", "Chapter 2", "Part Two. Chapter 3",
        ]  # fmt: skip
        assert words(chapters[0].text) == words("contents " + " ".join(names) + " " + between)


def test_headings_alone_are_text():
    assert split_chapters("Chapter 1\n\nChapter 2\n") == [Chapter(None, "Chapter 1\n\nChapter 2")]
    assert split_chapters("Chapter 1\n\na\n\nChapter 2\n") == [Chapter("Chapter 1", "a\n\nChapter 2")]


@pytest.mark.parametrize("text", ["", " \n\n\t", "***\n\n---\n", "```\n```"])
def test_nothing_but_marks(text):
    assert split_chapters(text) == []


def test_gutenberg_marks_bound_the_text():
    start = "Licence.\n\n*** START OF THE PROJECT GUTENBERG EBOOK ALICE'S\nADVENTURES ***\n\n"
    end = "\n\n*** END OF THE PROJECT GUTENBERG EBOOK ALICE ***\n\nMore licence."
    assert split_chapters(start + "Chapter I\n\nAlice." + end) == [Chapter("Chapter I", "Alice.")]
    assert split_chapters("***START OF THIS EBOOK\n\nAlice." + end) == [Chapter(None, "Alice.")]
    assert split_chapters("Alice." + end) == [Chapter(None, "Alice.")]


PIECES = [
    "# Up", "## Down", "### Deep ###", "Under\n---", "Over\n====", "Chapter 3", "CHAPTER IV\nTHE NIGHT", "Part Two",
    "Epilogue", "Chapter 1\nChapter 2\nChapter 3", "Some prose,\nhard-\nwrapped over\nlines.", "* * *", "- one\n- two",
    "> said\n> he", "Plain.", "```\n# code\n\nmore\n```", "Chapter 5 was long.\nIt was.", "[link](http)", "***",
    "  indented\n\ttext", "Contents", "1. first\n2. second", "a - b * c > d # e",
    "```one``` word", "~~~", "~~~ two ~~~",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_no_word_is_lost(seed):
    generator = random.Random(seed)
    pieces = generator.choices(PIECES, k=generator.randrange(1, 30))
    text = generator.choice(["\n\n", "\n"]).join(pieces)
    spoken = " ".join(f"{chapter.title or ''} {chapter.text}" for chapter in split_chapters(text))
    assert words(spoken) == words(text.replace("(http)", ""))
    assert all(chapter.text.strip() for chapter in split_chapters(text))


@pytest.mark.parametrize(
    "text",
    [
        "word " * 400_000, "word\n" * 300_000, "\n" * 2_000_000, " \t" * 500_000 + "x", "# " + " " * 1_000_000 + "x",
        "[" * 1_000_000, "[](" * 300_000, "-\n" * 300_000, "* " * 500_000 + "x", "Chapter one" + "-one" * 300_000,
        "Chapter 1\n\n" * 100_000, "# a\n\n" * 100_000, "# a\n\nb\n\n" * 50_000,
        "".join(f"# {n}\n\n# a{n}\n\nb\n\n" for n in range(30_000)), "*** START OF " * 100_000,
    ],
)  # fmt: skip
def test_long_and_hostile_books_take_no_time(text):
    start = time.process_time()
    split_chapters(text)
    assert time.process_time() - start < 10
