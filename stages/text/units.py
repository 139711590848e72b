"""What stands beside numbers: measures, currencies, months. Tables only, plus the spoken form of one quantity."""

# Lists of words read best as text:
# ruff: noqa: SIM905

from __future__ import annotations

from stages.text.folding import MARK

# Written unit -> (singular, plural). Case matters: 'MB' is not 'Mb', 'K' is a kelvin nowhere ('4K' is a name).
_SAME = {"hertz", "celsius", "fahrenheit"}
_NAMES = {
    "kg": "kilogram", "g": "gram", "mg": "milligram", "ug": "microgram", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "um": "micrometer", "nm": "nanometer",
    "ft": "foot", "yd": "yard", "yds": "yard", "mi": "mile", "in.": "inch", "ft.": "foot", "lb.": "pound",
    "lbs.": "pound", "oz.": "ounce", "mi.": "mile",
    "h": "hour", "hr": "hour", "hrs": "hour", "min": "minute", "mins": "minute", "sec": "second", "secs": "second",
    "hr.": "hour", "hrs.": "hour", "min.": "minute", "sec.": "second",
    "s": "second", "ms": "millisecond", "us": "microsecond", "ns": "nanosecond", "yrs": "year", "yr": "year",
    "L": "liter", "l": "liter", "ml": "milliliter", "mL": "milliliter", "gal": "gallon", "tsp": "teaspoon",
    "tbsp": "tablespoon",
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "W": "watt", "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt", "kWh": "kilowatt hour", "mAh": "milliamp hour",
    "V": "volt", "kV": "kilovolt", "mA": "milliamp", "dB": "decibel", "cal": "calorie", "kcal": "kilocalorie",
    "Pa": "pascal", "kPa": "kilopascal", "hPa": "hectopascal", "kJ": "kilojoule",
    "KB": "kilobyte", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "PB": "petabyte",
    "Kb": "kilobit", "Mb": "megabit", "Gb": "gigabit", "kbit": "kilobit", "Mbit": "megabit", "Gbit": "gigabit",
    "KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte", "px": "pixel", "ha": "hectare", "mol": "mole",
    "°C": "degree celsius", "°F": "degree fahrenheit", "°": "degree", "rad": "radian", "deg": "degree",
}  # fmt: skip
_FIXED = {
    "mph": "miles per hour", "kph": "kilometers per hour", "kmh": "kilometers per hour", "mpg": "miles per gallon",
    "fps": "frames per second", "rpm": "{r} {p} {m}", "bpm": "beats per minute", "kbps": "kilobits per second",
    "Mbps": "megabits per second", "Gbps": "gigabits per second", "dpi": "{d} {p} {i}", "psi": "{p} {s} {i}",
}  # fmt: skip
_IRREGULAR = {"foot": "feet", "inch": "inches"}
_POWERS = {"²": "square", "2": "square", "^2": "square", "³": "cubic", "3": "cubic", "^3": "cubic"}

MONTHS = "january february march april may june july august september october november december".split()
MONTH_ABBREVIATIONS = {m[:3].capitalize(): m for m in MONTHS} | {"Sept": "september"}
MONTH_PATTERN = "|".join([*(m.capitalize() for m in MONTHS), *MONTH_ABBREVIATIONS])

CURRENCIES = {
    "$": ("dollar", "cent"),
    "£": ("pound", "penny"),
    "€": ("euro", "cent"),
    "¥": ("yen", None),
}
MAGNITUDES = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "bn": "billion",
    "b": "billion", "B": "billion", "tn": "trillion", "T": "trillion",
}  # fmt: skip

_POWERED = "|".join(sorted((u for u in _NAMES if u.isalpha() and len(u) <= 2), key=len, reverse=True))
_PLAIN = "|".join(u.replace(".", r"\.") for u in sorted({*_NAMES, *_FIXED}, key=len, reverse=True))
UNIT_PATTERN = rf"(?:(?:{_POWERED})(?:[²³]|\^?[23](?![\d.]))|(?:{_PLAIN})(?:/(?:{_PLAIN}))?)"


def spoken_letters(letters: str) -> str:
    """'fbi' -> marked letters 'F B I': each is spoken as its name."""
    return " ".join(MARK + letter.upper() for letter in letters)


def unit_name(unit: str, *, one: bool) -> str:
    """The spoken form of a unit that UNIT_PATTERN matched, in the singular when `one`."""
    top, slash, bottom = unit.partition("/")
    if slash:
        return f"{unit_name(top, one=one)} per {unit_name(bottom, one=True)}"
    if unit in _FIXED:
        spoken = _FIXED[unit]
        return spoken_letters(unit) if "{" in spoken else (spoken.replace("miles", "mile", 1) if one else spoken)
    if unit in _NAMES:
        return _NAMES[unit] if one else _plural(_NAMES[unit])
    for mark, power in _POWERS.items():
        if unit.endswith(mark) and unit[: -len(mark)] in _NAMES:
            return f"{power} {unit_name(unit[: -len(mark)], one=one)}"
    raise KeyError(unit)


def _plural(name: str) -> str:
    """'degree celsius' -> 'degrees celsius'; hertz stays."""
    head, space, tail = name.partition(" ")
    if tail in _SAME:
        return f"{head}s {tail}"
    if space:
        return f"{head} {_plural(tail)}"
    return name if name.endswith("hertz") else _IRREGULAR.get(name, name + "s")
