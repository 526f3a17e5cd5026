"""Units after a number, by whatever name."""

from __future__ import annotations

import re

from vision_rewards.parsers.labels import normalize_label

_NAMES = {
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "dm": "decimeter decimeters",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards",
    "mi": "mile miles",
    "mg": "milligram milligrams",
    "g": "gram grams",
    "kg": "kilogram kilograms kgs",
    "lb": "lbs pound pounds",
    "oz": "ounce ounces",
    "ml": "milliliter milliliters",
    "cl": "",
    "dl": "",
    "l": "liter liters litre litres",
    "s": "sec secs second seconds",
    "ms": "millisecond milliseconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "hz": "hertz",
    "khz": "",
    "mhz": "",
    "n": "newton newtons",
    "j": "joule joules",
    "kj": "",
    "w": "watt watts",
    "kw": "kilowatt kilowatts",
    "kwh": "",
    "v": "volt volts",
    "pa": "pascal pascals",
    "kpa": "",
    "mol": "moles mole",
    "mph": "",
    "km/h": "kmh kph",
    "m/s": "",
    "m/s^2": "",
    "km/s": "",
    "cm/s": "",
    "degree": "degrees deg °",
    "°c": "c celsius ℃",
    "°f": "fahrenheit",
    "radian": "radians rad",
    "percent": "%",
    "dollar": "dollars usd",
    "cent": "cents",
    "unit": "units",
    "people": "persons person students children",
    "piece": "pieces",
}
_CANONICAL = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_LENGTHS = ("mm", "cm", "dm", "m", "km", "in", "ft", "yd", "mi", "unit")
# Letters that are variables as often as units: units only after a blank, and in this case.
_LETTERS = frozenset("LlNhJWVmsgt")
_POWER = re.compile(r"(?:(square|sq\.?|cubic|cu\.?) )?(.*?)(?:\s?\^\s?([23])|([²³])|( squared| cubed))?")
_DEGREE = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\circ|\\degree")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textrm|textbf|mathbf|rm|operatorname)\s?\{([^{}]{0,200})\}")
_CHANGES = "hundred thousand million billion trillion dozen half or and to more less than not about"
_SIZES = frozenset(_CHANGES.split())


def read_unit(text: str, spaced: bool) -> str | None:
    """The unit that a text after a number is, "" where there is none, None for anything else.

    Args:
        text: what follows the number, in its own case.
        spaced: whether a blank stands between.
    """
    text = text.strip()
    if not text:
        return ""
    inner = _TEXT.fullmatch(text)
    if inner is not None:
        words = normalize_label(inner[1])
        if not _SIZES.isdisjoint(words.split()) or any(character.isnumeric() for character in words):
            return None
        return _unit_name(inner[1].strip()) or words
    plain = _DEGREE.sub("°", _TEXT.sub(r"\1", text)).replace("\\%", "%").replace("{", "").replace("}", "")
    plain = " ".join(plain.replace("\\", "").split())
    if len(plain) == 1 and plain.isalpha() and not (spaced and plain in _LETTERS):
        return None
    return _unit_name(plain)


def _unit_name(text: str) -> str | None:
    text = text.casefold().replace("° ", "°")
    if text in _CANONICAL:
        return _CANONICAL[text]
    match = _POWER.fullmatch(text)
    base = _CANONICAL.get(match[2]) if match else None
    if base not in _LENGTHS:
        return None
    before, after = match[1], match[3] or match[4] or (match[5] or "").strip()
    if bool(before) == bool(after):
        return None
    cubic = (before or "").startswith("cu") or after in ("3", "³", "cubed")
    return f"{base}^{3 if cubic else 2}"
