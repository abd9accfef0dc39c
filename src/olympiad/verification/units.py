"""Units: what dimension they have and how large they are."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

_SCALES: dict[str, dict[str, float | int | str]] = {
    "length": {"m": 1, "meter": 1, "metre": 1, "cm": "0.01", "centimeter": "0.01", "centimetre": "0.01", "mm": "0.001",
               "millimeter": "0.001", "km": 1000, "kilometer": 1000, "kilometre": 1000, "inch": "0.0254", "in": "0.0254",
               "foot": "0.3048", "feet": "0.3048", "ft": "0.3048", "yard": "0.9144", "yd": "0.9144", "mile": "1609.344",
               "mi": "1609.344", "dm": "0.1", "nm": "0.000000001"},
    "mass": {"g": 1, "gram": 1, "kg": 1000, "kilogram": 1000, "mg": "0.001", "lb": "453.59237", "pound": "453.59237",
             "ounce": "28.349523125", "oz": "28.349523125", "ton": 1_000_000, "tonne": 1_000_000},
    "time": {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600, "day": 86400,
             "week": 604800},
    "calendar": {"month": 1, "year": 12, "yr": 12, "decade": 120, "century": 1200},
    "angle": {"radian": 1, "rad": 1},
    "degree": {"degree": 1, "deg": 1, "circ": 1},
    "money": {"dollar": 100, "usd": 100, "cent": 1, "buck": 100},
    "euro": {"euro": 1},
    "sterling": {"sterling": 1, "quid": 1},
    "temperature": {"celsius": 1},
    "fahrenheit": {"fahrenheit": 1},
}  # fmt: skip
_KNOWN = {name: (dimension, Fraction(str(size))) for dimension, units in _SCALES.items() for name, size in units.items()}
_VOLUMES = {"l": "0.001", "liter": "0.001", "litre": "0.001", "ml": "0.000001", "milliliter": "0.000001", "gallon": "0.003785411784",
            "quart": "0.000946352946", "pint": "0.000473176473", "cc": "0.000001"}  # fmt: skip
_SPEEDS = {"mph": ("mile", "hour"), "kph": ("km", "hour"), "kmh": ("km", "hour")}
MULTIPLES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_EMPTY = frozenset("unit square cubic sq cu of th st nd rd the a an each total in all about and exactly only whole approx approximately".split())  # fmt: skip


def parse_unit(text: str) -> tuple[dict[str, int], Fraction, frozenset[str]]:
    """Dimensions with their powers, size in the basic units, and the words that are no units.

    >>> parse_unit("km/h")[0], parse_unit("square feet")[0], parse_unit("stuffed goats")[2] == {"stuffed", "goat"}
    ({'length': 1, 'time': -1}, {'length': 2}, True)
    """
    dimensions: Counter[str] = Counter()
    size, words = Fraction(1), set()
    sign, power = 1, 1
    last: tuple[str, Fraction] | None = None
    for token in re.findall(
        r"[a-z]+|/|\^\s*\{?\s*-?\d+|\d+|\$", re.sub(r"\\[A-Za-z]+", " ", text.casefold().replace("\\$", "$"))
    ):
        if token in ("/", "per"):
            sign = -1
        elif token.startswith("^") or token.isdigit():
            digits = re.sub(r"[^\d-]", "", token)
            exponent = int(digits) if len(digits) < 3 else 0
            if not 0 < abs(exponent) <= 12:
                words.add(token[:20])
                continue
            if last:
                dimensions[last[0]] += sign * (exponent - 1)
                size *= last[1] ** (sign * (exponent - 1))
        elif token in ("square", "sq"):
            power = 2
        elif token in ("cubic", "cu"):
            power = 3
        else:
            for name in _SPEEDS.get(token, (token,)):
                unit = _unit(name)
                if unit is None:
                    if stem(token) not in _EMPTY:
                        words.add(stem(token))
                    continue
                dimensions[unit[0]] += sign * power * (3 if name in _VOLUMES or stem(name) in _VOLUMES else 1)
                size *= unit[1] ** (sign * power)
                last = unit
                if token in _SPEEDS:
                    sign = -1
            power = 1
    return {name: count for name, count in sorted(dimensions.items()) if count}, size, frozenset(words)


def _unit(name: str) -> tuple[str, Fraction] | None:
    if name == "$":
        return _KNOWN["dollar"]
    volume = _VOLUMES.get(name) or _VOLUMES.get(stem(name))
    if volume:
        return "length", Fraction(volume)
    return _KNOWN.get(name) or _KNOWN.get(stem(name)) or (_KNOWN["inch"] if name == "inches" else None)


def stem(word: str) -> str:
    """The word without its plural."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word
