"""A book, as plain text or Markdown, to chapters of paragraphs. Every word of the text is kept, in order.

Headings are those of Markdown (CommonMark, sections 4.2 and 4.3) and lines that name themselves one, standing alone
between empty lines: "Chapter 7", "CHAPTER VII. The Fog", "Part One", "Prologue".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_PART, _CHAPTER = 1, 2
"""levels, as Markdown counts them"""
_LONGEST_HEADING = 80
"""characters of a line that is a heading without Markdown's marks"""

_NUMBER_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|first|second|third|fourth|fifth|"
    "sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|last"
)
_NUMBER = rf"(?:\d{{1,4}}|[IVXLCDM]+|[ivxlcdm]+|(?i:(?:the\s)?(?:{_NUMBER_WORDS})(?:[-\s](?:{_NUMBER_WORDS}))*))"
_NAMED = re.compile(
    rf"""(?: (?P<part>(?i:part|book|volume)) \s+ {_NUMBER}
           | (?P<chapter>(?i:chapter)) \s+ {_NUMBER}
           | (?P<other>(?i:prologue|epilogue|preface|foreword|introduction|interlude|conclusion|afterword)) )
         (?: \s*[.:—–-]\s*.* | \s+["'“‘]?[A-Z].*[^.!?,;] )?""",
    re.VERBOSE,
)
"""A title after the number needs a mark before it, or a capital and no mark at its end: else it is a sentence."""
_LISTED = re.compile(r"\.{3}|(?:\. ){3}|\s{3,}\d+$|\t")
"""In a table of contents: leaders, or a page number."""
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_UNDERLINE = re.compile(r"={3,}|-{3,}")
_BREAK = re.compile(r"(?:[*_~•·#=—–-]\s*){3,}|[#⁂]")
_FENCE = re.compile(r"```[\w+#.-]*")
_QUOTE = re.compile(r"\A\s*>+\s?")
_BULLET = re.compile(r"\A\s*[-*+•]\s+")
_LINK = re.compile(r"""!?(?<!\[)\[([^\[\]]*)\]\([^()\s]*(?:\s+"[^"]*")?\)""")
_EMPHASIS = re.compile(r"[*`]+|(?<![^\W_])_+|_+(?![^\W_])")
_START, _END = (
    re.compile(rf"^[ \t]*\*{{3}}[ \t]*{word} OF\b(?:[^*\n]*\n?[^*\n]*\*{{3}}|[^\n]*)", re.MULTILINE)
    for word in ("START", "END")
)


@dataclass(frozen=True)
class Chapter:
    """A part of a book that is spoken in one go."""

    title: str | None
    """None: what stands before the first heading"""
    text: str
    """paragraphs, an empty line between two; never empty"""


@dataclass(frozen=True)
class _Block:
    """A paragraph, or a heading."""

    text: str
    level: int | None = None
    """of a heading: 1 is the highest; None: a paragraph"""
    named: bool = False
    """a heading that says so in words"""


def split_chapters(text: str) -> list[Chapter]:
    """The chapters of a plain or Markdown text, in order; [] for a text of nothing but space and marks.

    Markdown headings start a chapter down to the level that first occurs twice; deeper ones are paragraphs. A heading
    that only another follows joins that one's title when it is of a higher level (a part's first chapter), else it is
    a paragraph (a table of contents). Hard-wrapped lines are joined; scene breaks end a paragraph and are not spoken.
    Project Gutenberg's `*** START OF` and `*** END OF` lines bound the text.
    """
    blocks = [block for block in _blocks(_bounded(text)) if block.text]
    depth = _depth(blocks)
    last = {block.text: number for number, block in enumerate(blocks) if block.level is not None}
    chapters: list[tuple[str | None, list[str]]] = [(None, [])]
    run: list[_Block] = []
    for number, block in enumerate(blocks):
        if block.level is not None and (block.named or block.level <= depth):
            run.append(block)
            continue
        if run:
            listed, title = _title(run, comes_again=last[run[-1].text] > number)
            chapters[-1][1].extend(listed)
            if title is not None:
                chapters.append((title, []))
            run = []
        chapters[-1][1].append(block.text)
    chapters[-1][1].extend(block.text for block in run)
    return [Chapter(title, "\n\n".join(paragraphs)) for title, paragraphs in chapters if paragraphs]


def _bounded(text: str) -> str:
    """What stands between Project Gutenberg's marks, or all; every line ends in \\n."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = _START.search(text)
    begin = start.end() if start else 0
    end = _END.search(text, begin)
    return text[begin : end.start() if end else len(text)]


def _blocks(text: str) -> Iterator[_Block]:
    """Paragraphs and headings in order, without their marks."""
    lines: list[str] = []  # of the paragraph at hand
    fenced = False
    for line in text.split("\n"):
        mark = line.strip()
        heading = None if fenced else _ATX.fullmatch(line)
        if _FENCE.fullmatch(mark):
            yield from _paragraphs(lines, fenced)
            fenced = not fenced
        elif heading:
            yield from _paragraphs(lines, fenced)
            yield _heading(_without_closing_marks(heading[2]), len(heading[1]))
        elif len(lines) == 1 and not fenced and _UNDERLINE.fullmatch(mark):
            yield _heading(lines[0], 1 if mark[0] == "=" else 2)
        elif mark and not _BREAK.fullmatch(mark):
            lines.append(line)
            continue
        elif lines:
            yield from _paragraphs(lines, fenced)
        lines = []
    yield from _paragraphs(lines, fenced)


def _without_closing_marks(heading: str) -> str:
    """`The Fog ##` is `The Fog`, but `C#` stays."""
    bare = heading.rstrip().rstrip("#")
    return bare.rstrip() if bare != bare.rstrip() else heading.rstrip()


def _heading(text: str, level: int) -> _Block:
    named = _named([text])
    return _Block(named.text if named else _plain(text), level, named is not None)


def _paragraphs(lines: list[str], fenced: bool) -> Iterator[_Block]:
    """What the lines between two empty ones are: a heading, a list or one paragraph."""
    if fenced or not lines:
        yield _Block(_joined(lines))
        return
    heading = _named(lines)
    if heading:
        yield heading
        return
    lines = [_QUOTE.sub("", line, count=1) for line in lines]
    starts = [number for number, line in enumerate(lines) if number and _starts_paragraph(line, lines[0])]
    for start, end in zip([0, *starts], [*starts, len(lines)], strict=True):
        yield _Block(_joined([_BULLET.sub("", lines[start], count=1), *lines[start + 1 : end]]))


def _starts_paragraph(line: str, first: str) -> bool:
    """Whether a line parts from the one above it without an empty line: in a list, or a table of contents."""
    if _BULLET.match(first):
        return bool(_BULLET.match(line))
    return bool(_NAMED.fullmatch(line.strip())) and bool(_NAMED.fullmatch(first.strip()))


def _named(lines: list[str]) -> _Block | None:
    """The heading that one line is in words ("Chapter 7"), or two with its title below; else None."""
    first = _plain(lines[0])
    found = _NAMED.fullmatch(first)
    if len(first) > _LONGEST_HEADING or not found or _LISTED.search(lines[0].strip()):
        return None
    # "CHAPTER VII" would be read as an abbreviation and three letters
    word = found["part"] or found["chapter"] or found["other"]
    text = word.capitalize() + first[len(word) :] if word.isupper() else first
    level = _PART if found["part"] else _CHAPTER
    if len(lines) == 1:
        return _Block(text, level, True)
    title = _plain(lines[1])
    if len(lines) > 2 or len(title) > _LONGEST_HEADING or title.endswith((".", "!", "?", ",", ";", ":")):
        return None
    if not title or _NAMED.fullmatch(title):
        return None
    return _Block(f"{text.rstrip('.:')}. {title}", level, True)


def _plain(line: str) -> str:
    """A heading's line without Markdown's marks."""
    return _EMPHASIS.sub("", _LINK.sub(r"\1", line)).strip()


def _joined(lines: list[str]) -> str:
    """Hard-wrapped lines as one; a word that ends its line in a hyphen keeps it and meets its other half."""
    pieces: list[str] = []
    for line in map(str.strip, lines):
        hyphenated = pieces and pieces[-1][-1:] == "-" and pieces[-1][-2:-1].isalpha()
        pieces += [line] if hyphenated or not pieces else [" ", line]
    return _LINK.sub(r"\1", "".join(pieces)).strip()


def _depth(blocks: list[_Block]) -> int:
    """The lowest Markdown level that starts a chapter: the highest that occurs twice, parts apart."""
    levels = Counter(block.level for block in blocks if block.level is not None and not _is_part(block))
    return min((level for level, count in levels.items() if count > 1), default=max(levels, default=1))


def _is_part(block: _Block) -> bool:
    found = _NAMED.fullmatch(block.text)
    return found is not None and found["part"] is not None


def _title(run: list[_Block], comes_again: bool) -> tuple[list[str], str | None]:
    """Of headings in a row: those that are but a list, and the title of the text that follows (None: all are)."""
    first = len(run) - 1
    while first and (run[first - 1].level or 0) < (run[first].level or 0):
        first -= 1
    listed, titles = [b.text for b in run[:first]], [b.text for b in run[first:]]
    if listed and comes_again:
        return listed + titles, None  # the table's last entry too: its chapter is still to come
    joined = " ".join(title if title[-1] in ".!?:" else f"{title}." for title in titles[:-1])
    return listed, f"{joined} {titles[-1]}".strip()
