"""Numbers to spoken words: pure functions, no context. Words are lower case, separated by single spaces.

Own rules (no num2words: LGPL). American style: no "and" inside integers.
"""

# Lists of words read best as text:
# ruff: noqa: SIM905

from __future__ import annotations

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))

_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_FRACTION_WORDS = {2: "half", 4: "quarter"}
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
MAX_CARDINAL_DIGITS = 15
"""Beyond 10^15 nobody follows a named number: it is read digit by digit."""


def digits(text: str) -> str:
    """'407' -> 'four zero seven'; anything that is not a digit is skipped."""
    return " ".join(ONES[int(char)] for char in text if char in "0123456789")


def cardinal(value: int) -> str:
    """1234 -> 'one thousand two hundred thirty four'; negatives start with 'minus'."""
    if value < 0:
        return "minus " + cardinal(-value)
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10] + (" " + ONES[value % 10] if value % 10 else "")
    for scale, name in SCALES:
        if value >= scale:
            head = f"{cardinal(value // scale)} {name}"
            return head + (" " + cardinal(value % scale) if value % scale else "")
    raise AssertionError("unreachable")


def integer(text: str) -> str:
    """A written integer, with or without commas: '1,234' as a cardinal, '007' and 16 digits or more one by one."""
    plain = text.replace(",", "")
    if len(plain) > MAX_CARDINAL_DIGITS or (len(plain) > 1 and plain.startswith("0")):
        return digits(plain)
    return cardinal(int(plain))


def decimal(text: str) -> str:
    """'3.14' -> 'three point one four'; '.5' -> 'zero point five'; a plain integer is read as one."""
    whole, point, fraction = text.partition(".")
    spoken = integer(whole) if whole else "zero"
    return f"{spoken} point {digits(fraction)}" if point and fraction else spoken


def ordinal(value: int) -> str:
    """21 -> 'twenty first'."""
    head, _, last = cardinal(value).rpartition(" ")
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return f"{head} {last}".strip()


def year(value: int) -> str:
    """1999 -> 'nineteen ninety nine'; 1905 -> 'nineteen oh five'; 2005 -> 'two thousand five'."""
    century, rest = divmod(value, 100)
    if not 1000 <= value <= 9999 or century % 10 == 0 and rest < 10:
        return cardinal(value)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def decade(text: str) -> str:
    """'1990' -> 'nineteen nineties'; '90' -> 'nineties'; '1800' -> 'eighteen hundreds'."""
    spoken = year(int(text)) if len(text) == 4 else cardinal(int(text))
    return plural(spoken)


def plural(spoken: str) -> str:
    """The plural of the last word: 'ninety' -> 'nineties', 'six' -> 'sixes'."""
    if spoken.endswith("y") and spoken[-2:-1] not in "aeiou":
        return spoken[:-1] + "ies"
    return spoken + ("es" if spoken.endswith(("x", "s", "ch", "sh", "z")) else "s")


def fraction(top: int, bottom: int) -> str:
    """(3, 4) -> 'three quarters'; odd denominators are read 'over'."""
    if not 2 <= bottom <= 20 and bottom not in (30, 32, 40, 50, 60, 64, 100, 1000):
        return f"{cardinal(top)} over {cardinal(bottom)}"
    name = _FRACTION_WORDS.get(bottom) or ordinal(bottom)
    if top != 1:
        name = "halves" if bottom == 2 else name + "s"
    return f"{cardinal(top)} {name}"


def code_number(text: str) -> str:
    """A number inside a name ('747', 'A320', 'B2B'): in pairs, as people say model numbers."""
    if len(text) > 4 or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    if len(text) == 4:
        return year(int(text))
    if len(text) == 3 and text[1:] != "00":
        return f"{ONES[int(text[0])]} {'oh ' if text[1] == '0' else ''}{cardinal(int(text[1:]))}"
    return cardinal(int(text))


def roman(text: str) -> int | None:
    """The value of a well-formed upper-case Roman numeral, else None."""
    if not text or any(char not in _ROMAN for char in text):
        return None
    values = [_ROMAN[char] for char in text]
    total = sum(-v if v < w else v for v, w in zip(values, [*values[1:], 0], strict=True))
    return total if to_roman(total) == text else None


def to_roman(value: int) -> str:
    """4 -> 'IV' (1..3999); the check that a numeral is well formed."""
    pairs = zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ("M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"),
        strict=True,
    )
    out = ""
    for size, letters in pairs:
        out += letters * (value // size)
        value %= size
    return out
