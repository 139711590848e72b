"""Written numbers in context to words: phone numbers, dates, times, money, measures, fractions, years…

Each rule is one pattern and one function from its match to words. The order matters: what binds tightest comes first,
and a rule may leave digits for a later one. After `speak_numbers` no digit is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from stages.text import units
from stages.text import verbalize as say
from stages.text.folding import MARK

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_START = r"(?<![\w.,])"  # not inside a word or a longer number
_END = r"(?![\w]|[.,]\d)"
_AMPM = r"(?:\s?([AaPp])\.?[Mm]\b\.?)"
_MONEY_SCALE = r"(?:\s(hundred|thousand|million|billion|trillion)\b|(k|K|mn|m|M|bn|b|B|tn|T)\b)?"

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


def _phone(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match.group())
    plus = "plus " if match.group().startswith("+") else ""
    return plus + ", ".join(say.digits(group) for group in groups)


def _address(match: re.Match[str]) -> str:
    """IP addresses and version numbers: 1.2.3 -> one dot two dot three."""
    parts = match.group().lstrip("v").split(".")
    spoken = " dot " if len(parts) == 4 else " point "
    return ("version " if match.group().startswith("v") else "") + spoken.join(say.code_number(part) for part in parts)


def _date(month: int, day: int, year: str, match: re.Match[str]) -> str:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match.group()
    full = int(year) if len(year) == 4 else 2000 + int(year)
    return f"{units.MONTHS[month - 1]} {say.ordinal(day)}, {say.year(full)}"


def _us_date(match: re.Match[str]) -> str:
    first, second, year = int(match[1]), int(match[2]), match[3]
    return _date(second, first, year, match) if first > 12 else _date(first, second, year, match)


def _month(name: str) -> str:
    return units.MONTH_ABBREVIATIONS.get(name, name.lower())


def _month_day(match: re.Match[str]) -> str:
    if int(match[2]) > 31:
        return match.group()
    tail = f", {say.year(int(match[3]))}" if match[3] else ""
    return f"{_month(match[1])} {say.ordinal(int(match[2]))}{tail}"


def _day_month(match: re.Match[str]) -> str:
    if int(match[2]) > 31:
        return match.group()
    article = match[1] or "the "
    return f"{article}{say.ordinal(int(match[2]))} of {_month(match[3])}" + (
        f" {say.year(int(match[4]))}" if match[4] else ""
    )


def _time(match: re.Match[str]) -> str:
    hour, minute, second, half = int(match[1]), match[2], match[3], match[4]
    if hour > 24 or int(minute) > 59:
        return f"{say.cardinal(hour)} to {say.cardinal(int(minute))}"  # a score or a ratio
    spoken = say.cardinal(hour)
    if minute != "00":
        spoken += " oh " + say.cardinal(int(minute)) if minute[0] == "0" else " " + say.cardinal(int(minute))
    elif not half and not second:
        spoken += " o'clock" if 1 <= hour <= 12 else " hundred"
    if second:
        spoken += f" and {say.cardinal(int(second))} second{'' if int(second) == 1 else 's'}"
    return f"{spoken} {units.spoken_letters(half + 'm')}" if half else spoken


def _hour(match: re.Match[str]) -> str:
    return f"{say.cardinal(int(match[1]))} {units.spoken_letters(match[2] + 'm')}"


def _money(match: re.Match[str]) -> str:
    sign, prefix, symbol, amount, word, letter, note = match.groups()
    major, minor = units.CURRENCIES[symbol]
    name = f"{units.spoken_letters(prefix)} {major}" if prefix else major
    head = "minus " if sign else ""
    scale = word or units.MAGNITUDES.get(letter or "")
    plural = "" if note or major == "yen" else "s"
    if scale:
        return f"{head}{say.decimal(amount)} {scale} {name}{plural} {note or ''}"
    whole, _, part = amount.replace(",", "").partition(".")
    if part and (len(part) != 2 or minor is None):
        return f"{head}{say.decimal(amount)} {name}{plural}"
    spoken = [f"{say.integer(whole)} {name}{'' if int(whole or 0) == 1 else plural}"] if int(whole or 0) else []
    if part and int(part):
        cents = "pence" if minor == "penny" and part != "01" else f"{minor}{'' if part == '01' else 's'}"
        spoken.append(f"{say.cardinal(int(part))} {cents}")
    return f"{head}{' and '.join(spoken) or f'zero {name}s'} {note or ''}"


def _quantity(match: re.Match[str]) -> str:
    number, hyphen, unit = match[1], match[2], match[3]
    one = number == "1" or hyphen == "-"
    return f"{say.decimal(number)} {units.unit_name(unit, one=one)}"


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom = match[1], int(match[2]), int(match[3])
    if (top, bottom) == (24, 7) or (top, bottom) == (9, 11):
        return f"{say.cardinal(top)} {say.cardinal(bottom)}"
    if whole:
        part = "a half" if (top, bottom) == (1, 2) else say.fraction(top, bottom)
        return f"{say.integer(whole.strip())} and {part}"
    if top >= bottom >= 5:
        return f"{say.cardinal(top)} out of {say.cardinal(bottom)}"
    return say.fraction(top, bottom) if bottom else f"{say.cardinal(top)} over zero"


def _scientific(match: re.Match[str]) -> str:
    return f"{say.decimal(match[1])} times ten to the {'minus ' if match[2] == '-' else ''}{say.integer(match[3])}"


def _feet_inches(match: re.Match[str]) -> str:
    feet = f"{say.cardinal(int(match[1]))} {units.unit_name('ft', one=match[1] == '1')}"
    return f"{feet} {say.cardinal(int(match[2]))} {units.unit_name('in.', one=match[2] == '1')}"


def _number(match: re.Match[str]) -> str:
    """A number on its own: four plain digits from 1100 to 2099 are a year, unless they count something."""
    text, counted = match[1], match[2]
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", text) and not counted:
        return say.year(int(text))
    return say.decimal(text)


_RULES: list[Rule] = [
    (re.compile(rf"{_START}(?:\+?1[-. ])?(?:\(\d{{3}}\) ?|\d{{3}}[-. ])\d{{3}}[-. ]\d{{4}}{_END}"), _phone),
    (re.compile(rf"{_START}\+\d{{1,3}}(?:[- ]\(?\d{{2,5}}\)?){{2,5}}{_END}"), _phone),
    (re.compile(rf"{_START}(?:\d{{3}}-\d{{4}}|\d{{3}}-\d\d-\d{{4}}){_END}"), _phone),
    (re.compile(r"(?<![\w.])v?\d{1,5}(?:\.\d{1,5}){2,4}(?!\w|\.\d)"), _address),
    (re.compile(rf"{_START}(\d{{4}})-(\d\d)-(\d\d){_END}"), lambda m: _date(int(m[2]), int(m[3]), m[1], m)),
    (re.compile(rf"{_START}(\d{{1,2}})/(\d{{1,2}})/(\d{{4}}|\d\d)(?![\w/])"), _us_date),
    (re.compile(rf"\b({units.MONTH_PATTERN})\b\.? (\d{{1,2}})(?:st|nd|rd|th)?\b(?!:|[.,]\d|%)(?:,? ([12]\d{{3}})\b)?"),
     _month_day),
    (re.compile(rf"(?i:\b(the ))?{_START}(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({units.MONTH_PATTERN})\b"
                r"(?:\.(?= [\da-z]))?(?:,? ([12]\d{3})\b)?"), _day_month),
    (re.compile(rf"\b({'|'.join(units.MONTH_ABBREVIATIONS)})\b\.? (?=[12]\d{{3}}\b)"),
     lambda m: _month(m[1]) + " "),
    (re.compile(rf"{_START}(\d{{1,2}}):(\d\d)(?::(\d\d))?(?![\d:]){_AMPM}?"), _time),
    (re.compile(rf"{_START}(\d{{1,2}}){_AMPM}"), _hour),
    (re.compile(rf"{_START}(\d+):(\d+)(?![\d:])"), lambda m: f"{say.integer(m[1])} to {say.integer(m[2])}"),
    (re.compile(rf"([$£€¥])({NUMBER})\s?[-–]\s?[$£€¥]?(?={NUMBER})"), lambda m: f"{m[2]} to {m[1]}"),
    (re.compile(rf"(-)?\b(US|CA|AU|A|C|NZ|HK)?([$£€¥])\s?({NUMBER}){_MONEY_SCALE}(?: (bill|note|coin)\b)?"), _money),
    (re.compile(rf"(-)?()([$£€¥])\s?({NUMBER}){_MONEY_SCALE}(?: (bill|note|coin)\b)?"), _money),
    (re.compile(rf"({NUMBER})\s?¢"), lambda m: say.decimal(m[1]) + (" cent" if m[1] == "1" else " cents")),
    (re.compile(r"(?:(?<![\w'])'|(?<![\w.$-]))([1-9]0)'?s\b"), lambda m: say.decade(m[1])),
    (re.compile(r"(?<![\w.$])(1\d\d0|20\d0)'?s\b"), lambda m: say.decade(m[1])),
    (re.compile(r"(?<![\w'])'(\d\d)\b"), lambda m: say.year(int(m[1])) if m[1][0] != "0" else f"oh {m[1][1]}"),
    (re.compile(rf"{_START}(\d+(?:\.\d+)?)[eE]([+-]?)(\d{{1,3}})\b"), _scientific),
    (re.compile(r"\b(\d)'\s?(\d{1,2})\""), _feet_inches),
    (re.compile(r"(?<![\w.,-])(1\d{3}|20\d\d)[-–](\d\d)(?![\w-]|\.\d)"),
     lambda m: f"{say.year(int(m[1]))} to {say.cardinal(int(m[2]))}"),
    (re.compile(rf"(?<![\w.,-])({NUMBER})(%|°[CF]?)?(?:\s?–\s?|-)(?={NUMBER})(?!\d+-[a-zA-Z])"),
     lambda m: f"{m[1]}{m[2] or ''} to "),
    (re.compile(rf"({NUMBER}) - (?={NUMBER})"), lambda m: f"{m[1]} minus " if "=" in m.string else f"{m[1]} to "),
    (re.compile(r"(?<![\w)\].-])-(?=\.?\d)"), lambda m: " minus "),
    (re.compile(rf"({NUMBER})\s?(?:[x×]|\*)\s?(?={NUMBER})"),
     lambda m: f"{m[1]} {'times' if '*' in m[0] or '=' in m.string else 'by'} "),
    (re.compile(rf"({NUMBER})(\s?|-)({units.UNIT_PATTERN})(?![\w/²³])"), _quantity),
    (re.compile(rf"{_START}(\d+ )?(\d+)/(\d+)(?![\w/])"), _fraction),
    (re.compile(r"(?<![\w.])((?:\d{1,3}(?:,\d{3})+|\d{1,15}))(?:st|nd|rd|th)\b"),
     lambda m: say.ordinal(int(m[1].replace(",", "")))),
]  # fmt: skip

_LAST: list[Rule] = [
    (re.compile(rf"(?<!\w)({NUMBER})(?!\w)((?= (?!has\b|was\b|is\b|as\b|us\b|this\b|its\b)[a-z]{{2,}}s\b)(?=(\s)))?"),
     _number),
    (re.compile(r"\d+"), lambda m: say.integer(m[0])),
]  # fmt: skip


def _apply(rules: list[Rule], text: str) -> str:
    for pattern, speak in rules:
        if not any(char.isdigit() for char in text):
            return text
        text = pattern.sub(partial(_spaced, speak), text)
    return text


def _spaced(speak: Callable[[re.Match[str]], str], match: re.Match[str]) -> str:
    return f" {speak(match)} "


def speak_quantities(text: str) -> str:
    """Numbers with something beside them that tells how to read them (a currency, a unit, a month…)."""
    # Endless digits are read one by one at once: no rule is about them, and each would scan them again and again.
    text = re.sub(r"(?<=\d)\.(?=\d{41})", " point ", text)
    text = re.sub(r"\d{41,}", lambda m: f" {say.digits(m[0])} ", text)
    return _apply(_RULES, text)


def speak_numbers(text: str) -> str:
    """The numbers that are left: years, cardinals, decimals. No digit survives."""
    return _apply(_LAST, text).replace(MARK + " ", MARK)
