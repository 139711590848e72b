"""Abbreviations, titles, streets and Roman numerals to words, by what stands around them."""

# Lists of words read best as text:
# ruff: noqa: SIM905

from __future__ import annotations

import re
from functools import partial

from stages.text import verbalize as say
from stages.text.folding import MARK
from stages.text.units import MONTH_ABBREVIATIONS, spoken_letters

SENTENCE_STARTERS = frozenset(
    "A An The This That These Those He She It We They I You There Here In On At But And Or So If When While Then His "
    "Her Its Our Their My Your What Who Why How Where No Yes Not As After Before For From With By To".split()
)

TITLES = {
    "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Messrs": "messieurs", "Dr": "doctor", "Drs": "doctors",
    "Prof": "professor", "Rev": "reverend", "Hon": "honorable", "Capt": "captain", "Col": "colonel", "Gen": "general",
    "Lt": "lieutenant", "Sgt": "sergeant", "Maj": "major", "Cmdr": "commander", "Adm": "admiral", "Cpl": "corporal",
    "Gov": "governor", "Sen": "senator", "Rep": "representative", "Pres": "president", "Mt": "mount", "Ft": "fort",
    "Fr": "father", "Supt": "superintendent",
}  # fmt: skip
"""Said before a name; with a period, or (those of BARE_TITLES) without."""
BARE_TITLES = ("Mr", "Mrs", "Ms", "Dr", "Prof", "Mt")

STREETS = {
    "Ave": "avenue", "Av": "avenue", "Blvd": "boulevard", "Rd": "road", "Ln": "lane", "Hwy": "highway",
    "Pkwy": "parkway", "Ct": "court", "Pl": "place", "Sq": "square", "Ter": "terrace", "Apt": "apartment",
}  # fmt: skip

DOTTED = {
    "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "etc": "et cetera", "vs.": "versus", "vs": "versus",
    "cf.": "compare", "approx.": "approximately", "Inc.": "incorporated", "Corp.": "corporation", "Ltd.": "limited",
    "Co.": "company", "Bros.": "brothers", "Jr.": "junior", "Jr": "junior", "Sr.": "senior", "Sr": "senior",
    "a.k.a.": "also known as", "et al.": "et al", "misc.": "miscellaneous", "tel.": "telephone", "avg.": "average",
    "dept.": "department", "Dept.": "department", "Univ.": "university", "Assn.": "association", "govt.": "government",
    "Govt.": "government", "max.": "maximum", "ca.": "circa", "Est.": "established", "est.": "estimated",
    "viz.": "namely", "resp.": "respectively", "incl.": "including", "excl.": "excluding", "temp.": "temperature",
    "w/o": "without", "w/": "with ", "b/c": "because", "c/o": "care of", "and/or": "and or", "Esq.": "esquire",
    "Intl.": "international", "Natl.": "national", "Mfg.": "manufacturing", "hrs.": "hours", "mins.": "minutes",
    "Ph.D.": spoken_letters("P") + " " + spoken_letters("HD"), "PhD": spoken_letters("PHD"),
}  # fmt: skip

_BEFORE_DIGIT = {
    "No": "number", "Nos": "numbers", "nos": "numbers", "Fig": "figure", "Figs": "figures", "fig": "figure",
    "figs": "figures", "vol": "volume", "Vol": "volume", "pp": "pages", "p": "page", "pg": "page", "Ch": "chapter",
    "ch": "chapter", "Sec": "section", "sec": "section", "Eq": "equation", "eq": "equation", "ext": "extension",
    "Ext": "extension", "Ste": "suite", "Rm": "room", "Art": "article", "Op": "opus", "op": "opus", "Ref": "reference",
    "ver": "version", "Tel": "telephone",
}  # fmt: skip
_DAYS = {
    "Mon": "monday", "Tue": "tuesday", "Tues": "tuesday", "Wed": "wednesday", "Thu": "thursday", "Thur": "thursday",
    "Thurs": "thursday", "Fri": "friday", "Sat": "saturday", "Sun": "sunday",
}  # fmt: skip

_NUMBERED = (
    "Chapter|Part|Volume|Vol|Act|Scene|Section|Book|Phase|Type|Title|Appendix|Article|Class|Level|Stage|Grade|Figure|"
    "Table|Bowl|War|Rocky|Apollo|Fantasy|Mark|Episode|Unit|Round|Season|Version|Division|Group|Tier|Option|Wars"
)
_REGNAL = (
    "Henry|Louis|Elizabeth|Edward|George|James|Charles|William|Richard|John|Paul|Pius|Benedict|Gregory|Leo|Innocent|"
    "Napoleon|Nicholas|Alexander|Peter|Catherine|Philip|Ferdinand|Frederick|Wilhelm|Ramses|Ramesses|Ptolemy|Mary|"
    "Robert|David|Otto|Harald|Haakon|Olaf|Christian|Gustav|Karl|Carl|Juan|Francis|Franz|Joseph|Victor|Umberto|Albert|"
    "Leopold|Baldwin|Clement|Urban|Julius|Sixtus|Margaret|Stephen|Thomas|Ivan|Darius|Xerxes|Cyrus|Malcolm|Constantine"
)
_NUMERAL = r"[IVXLC]{1,7}\b(?!['.]\w)"
_CAPITAL_WORD = r"[A-Z][a-z]+"


def _roman_after(names: str, spoken: str) -> tuple[re.Pattern[str], str]:
    return re.compile(rf"\b({names})\.? ({_NUMERAL})"), spoken


_ROMAN_RULES = (
    (re.compile(rf"\b((?:{_REGNAL})(?: {_CAPITAL_WORD})?|(?:King|Queen|Pope|Emperor|Tsar|Prince) {_CAPITAL_WORD}) "
                rf"({_NUMERAL})(?! (?:think|am|have|will|was told|do|would|know|said|saw|went)\b)"), "the ordinal"),
    (re.compile(rf"\b({_NUMBERED}|{_NUMBERED.lower()})\.? ({_NUMERAL})"), "cardinal"),
    (re.compile(rf"\b({_CAPITAL_WORD}) (II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV|XVI|XVII|XVIII)\b"), "cardinal"),
)  # fmt: skip


def _speak_roman(match: re.Match[str], spoken: str) -> str:
    value = say.roman(match[2])
    if value is None or (match[2] in ("X", "C", "L") and match[1] == "Malcolm"):
        return match[0]
    # "Mary and I", "when Henry I think": a lone I is a numeral only where no verb of a speaker follows.
    if match[2] == "I" and spoken == "the ordinal" and re.match(r" [a-z]+ (?:the|a|to|that|my|it)\b", _rest(match)):
        return match[0]
    return f"{match[1]} the {say.ordinal(value)}" if spoken == "the ordinal" else f"{match[1]} {say.cardinal(value)}"


def _rest(match: re.Match[str]) -> str:
    return match.string[match.end() :]


def _saint_or_street(match: re.Match[str]) -> str:
    """'St.' before a name is a saint; after a name or an ordinal, with no name behind it, a street."""
    before, after = match.string[: match.start()], _rest(match)
    named = re.search(r"(?:\b[A-Z][a-z]+|\d(?:st|nd|rd|th)) $", before)
    addressed = re.search(
        r"(?:\d+(?:st|nd|rd|th)?|\b(?:on|of|at|from|to|down|off|and|[NSEW]\.?)) (?:[A-Z][a-z]+ )*$", before
    )
    if re.match(r" ?[A-Z][a-z]", after) and not (named and addressed):
        return "saint"
    return ("street" if named else "saint") + _kept_stop(match)


def _doctor_or_drive(match: re.Match[str]) -> str:
    before = match.string[: match.start()]
    is_drive = re.search(r"\d+ (?:[A-Z][a-z]+ )+$", before) or (
        re.search(r"\b[A-Z][a-z]+ $", before) and not re.match(r" ?[A-Z]", _rest(match)) and _rest(match).strip()
    )
    return "drive" if is_drive else "doctor"


def _kept_stop(match: re.Match[str]) -> str:
    """A period that also ends the sentence stays: '…of Acme Inc. The…'."""
    following = re.match(r"\s+([A-Za-z]+)", _rest(match))
    return "." if match[0].endswith(".") and following and following[1] in SENTENCE_STARTERS else ""


def _dotted(match: re.Match[str]) -> str:
    return DOTTED[match[0]] + _kept_stop(match)


def _initials(match: re.Match[str]) -> str:
    if re.fullmatch(r"[AaPp]\.[Mm]\.?", match[0]) and re.search(r"\d\s?$", match.string[: match.start()]):
        return match[0]  # a time: its own rule reads it
    return spoken_letters(match[0].replace(".", "")) + _kept_stop(match)


def _choice(table: dict[str, str]) -> str:
    return "|".join(re.escape(key) for key in sorted(table, key=len, reverse=True))


_RULES = (
    (re.compile(rf"(?<![\w.])(?:{_choice(DOTTED)})(?!\w)|(?<![\w.])w/(?=\w)"), _dotted),
    (re.compile(r"\bSt\.|\bSt(?= [A-Z][a-z])"), _saint_or_street),
    (re.compile(r"\bDr\b\.?"), _doctor_or_drive),
    (re.compile(rf"\b({_choice(TITLES)})\.(?= ?[A-Z\ue000\"])|\b({'|'.join(BARE_TITLES)})(?= [A-Z][a-z])|"
                r"\b(Mrs?|Ms)\b\.?"), lambda m: TITLES[m[1] or m[2] or m[3]]),
    (re.compile(rf"(?<=[a-z] )({_choice(STREETS)})(?:\.|\b(?=[,;]|$| [A-Z]))"),
     lambda m: STREETS[m[1]] + _kept_stop(m)),
    (re.compile(r"\bApt\.(?= )"), lambda m: "apartment"),
    (re.compile(rf"\b({_choice(_BEFORE_DIGIT)})\. ?(?=#?\d|[IVXL]+\b)"), lambda m: _BEFORE_DIGIT[m[1]] + " "),
    (re.compile(rf"\b({_choice(_DAYS)})\.(?=,? (?:\d|[A-Z][a-z]{{2}}|at\b|the\b)|,|\s?[-–])"), lambda m: _DAYS[m[1]]),
    (re.compile(r"(?<=[A-Za-z] )v\.?(?= [A-Z])"), lambda m: "versus"),
    (re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,}(?:[A-Z](?![\w.]))?"), _initials),
    (re.compile(r"\b([A-Z])\.(?=\s?([A-Z][a-zA-Z.']*))"),
     lambda m: m[0] if m[2] in SENTENCE_STARTERS else spoken_letters(m[1])),
)  # fmt: skip


def speak_abbreviations(text: str) -> str:
    """Abbreviations, initials ('U.S.A.', 'J. K.') and Roman numerals of folded text as words; numbers stay."""
    for pattern, spoken in _ROMAN_RULES:
        text = pattern.sub(partial(_speak_roman, spoken=spoken), text)
    for pattern, speak in _RULES:
        text = pattern.sub(speak, text)
    return text


def speak_months(text: str) -> str:
    """Abbreviated months without a number beside them ('in Jan. we…'): after the dates have been read."""
    pattern = rf"\b({'|'.join(m for m in MONTH_ABBREVIATIONS if m != 'May')})\.(?=\s[a-z]|,|$|\s?[-–])"
    return re.sub(pattern, lambda m: MONTH_ABBREVIATIONS[m[1]], text)


__all__ = ["MARK", "SENTENCE_STARTERS", "speak_abbreviations", "speak_months"]
