"""Mathematical answers as text: LaTeX dressing, and numbers that are written out."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from vision_rewards.parsers.extract import last_boxed
from vision_rewards.parsers.labels import normalize_label, strip_prefix
from vision_rewards.parsers.numbers import NUMBER_WORDS, fold_digits

_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_LAYOUT = re.compile(r"\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])|(?<!\\)\\[,;:! ]|~")
_BRACKET_BLANK = re.compile(r"([(\[{]) | ([)\]}])")
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_BARE_FRACTION = re.compile(r"\\frac\s?(?:(\d)\s?(\d)|(\d)\s?\{(\d{1,40})\}|\{(\d{1,40})\}\s?(\d))(?!\d)")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textrm|textbf|mathbf)\s?\{([^{}]{0,200})\}")
_WORD = re.compile(r"[A-Za-z][A-Za-z' -]{2,200}")
_SYMBOL = re.compile(r"\s*(?:[A-Za-z]|\\[A-Za-z]{2,12})(?:_\{?\w{1,10}\}?)?(?:\(\s*[A-Za-z]\s*\))?\s*", re.ASCII)
_EQUALS = re.compile(r"(?<![<>!\\:])=")

_WHOLE = r"[0-9]{1,3}(?:(?:,|\{,\})[0-9]{3}){1,8}|[0-9]{1,40}"
_DECIMAL = rf"(?:(?:{_WHOLE})(?:\.[0-9]{{0,40}})?|\.[0-9]{{1,40}})"
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s?(?:\\?\$\s?)?(?:"
    r"(?:(?P<mixed>[0-9]{1,40})\s?)?\\frac\s?\{(?P<over>[-+]?[0-9]{1,40})\}\s?\{(?P<under>[0-9]{1,40})\}"
    r"|(?:(?P<mixed2>[0-9]{1,40})\s)?(?P<over2>[0-9]{1,40})\s?/\s?(?P<under2>[0-9]{1,40})"
    r"|10\s?\^\s?\{?(?P<ten>[-+]?[0-9]{1,3})\}?"
    rf"|(?P<decimal>{_DECIMAL})(?:[eE](?P<exponent>[-+]?[0-9]{{1,3}})"
    r"|\s?(?:\\times|\\cdot|×|\*)\s?10\s?\^\s?\{?(?P<power>[-+]?[0-9]{1,3})\}?)?"
    r")\s?(?P<unit>.{0,60})",
    re.DOTALL,
)
_UNIT = re.compile(r"\\?%|°|\^\s?\{?\s?\\circ\s?\}?|\\circ|\\degree")
_UNIT_NAMES = (
    "mm cm dm km in ft yd mi mg kg lb oz ml cl dl hr min sec ms hz kw kwh mph kmh km/h m/s cm^2 m^2 km^2 cm^3 m^3 "
    "meter meters metre metres inch inches feet foot miles mile grams gram liters litres dollars dollar cents cent "
    "degree degrees radian radians hours hour minutes minute seconds second days day years year units unit percent "
    "people pieces"
)
_UNITS = frozenset(_UNIT_NAMES.split())
_CHANGES = "hundred thousand million billion trillion dozen half or and to more less than not about"
_SIZES = frozenset(_CHANGES.split())


class MathNumber(NamedTuple):
    """A number that is written out.

    Attributes:
        value: exact.
        step: the place value of the last digit of a decimal with six significant digits or more, which may stand for a
            number that has no end; None for all others.
        whole_fraction: whether it is a fraction that is a whole number, as 10/2.
        unit: the words after it, normalised.
    """

    value: Fraction
    step: Fraction | None
    whole_fraction: bool
    unit: str


def strip_math(answer: str) -> str:
    """What an answer states: the inside of its last `\\boxed{}`, without a leading phrase, delimiters or layout.

    `\\dfrac12` and `\\tfrac{1}{2}` become `\\frac{1}{2}`; `\\left`, `\\right` and spacing commands go.
    """
    if "\\boxed" in answer:
        answer = last_boxed(answer) or ""
    answer = strip_prefix(answer.strip())
    for _ in range(2):
        answer = answer.rstrip(". ")
        for left, right in _DELIMITERS:
            if len(answer) > len(left + right) and answer.startswith(left) and answer.endswith(right):
                inside = answer[len(left) : -len(right)]
                answer = inside.strip() if left not in inside else answer
    answer = _FRACTION.sub(r"\\frac", _LAYOUT.sub(" ", answer))
    answer = _BARE_FRACTION.sub(lambda m: f"\\frac{{{m[1] or m[3] or m[5]}}}{{{m[2] or m[4] or m[6]}}}", answer)
    return _BRACKET_BLANK.sub(r"\1\2", " ".join(answer.split()))


def drop_symbol(text: str) -> str | None:
    """The right-hand side of `x = 3` or of the chain `x = 1 + 2 = 3`; None where the left is no single symbol."""
    parts = _EQUALS.split(text)
    if len(parts) == 1:
        return text
    return parts[-1].strip() if _SYMBOL.fullmatch(parts[0]) else None


def parse_math_number(text: str) -> MathNumber | None:
    """Read a text that is one number and nothing else but a unit; None for all others.

    The forms: words from zero to twenty, `-3`, `1,000`, `1{,}000`, `.5`, `1/2`, `\\frac{1}{2}`, `1\\frac{1}{2}`,
    `1 1/2`, `1.2e5`, `1.2 \\times 10^{5}`, `10^5`, a dollar sign before it; after it a per cent or degree
    sign, a common unit, or any `\\text{…}` without a number word.

    Args:
        text: what `strip_math` gives.
    """
    text = fold_digits(text)
    if text in NUMBER_WORDS:
        return MathNumber(Fraction(NUMBER_WORDS[text]), None, False, "")
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    unit = _unit(match["unit"])
    if unit is None:
        return None
    sign = -1 if match["sign"] == "-" else 1
    if match["ten"]:
        return MathNumber(sign * Fraction(10) ** int(match["ten"]), None, False, unit)
    if match["decimal"]:
        return _decimal(match, sign, unit)
    over, under = (int(match[name] or match[name + "2"]) for name in ("over", "under"))
    mixed = int(match["mixed"] or match["mixed2"] or 0)
    if not under or (over < 0 and mixed):
        return None
    value = Fraction(over, under)
    return MathNumber(sign * (mixed + value), None, value.denominator == 1, unit)


def same_number(answer: MathNumber, gold: MathNumber) -> bool:
    """Whether an answer is the number of a target.

    They are equal, or just one of them is a decimal of six significant digits or more, and they differ by less than its
    last place. Different units, where both have one, are not the same; nor is a fraction that is a whole number, where
    the target is no such fraction.
    """
    if answer.unit and gold.unit and answer.unit != gold.unit:
        return False
    if answer.value == gold.value:
        return not answer.whole_fraction or gold.whole_fraction
    if (answer.step is None) == (gold.step is None):
        return False
    return abs(answer.value - gold.value) < (answer.step or gold.step)


def words_of(text: str) -> str | None:
    """The words that a text consists of (`\\text{Monday}`, `no solution`), normalised; None if it has anything else."""
    plain = _TEXT.sub(r"\1", text).strip()
    return normalize_label(plain) if _WORD.fullmatch(plain) else None


def bracket_kind(text: str) -> str:
    """What the outermost brackets say: "()", "[)" and so on for tuples and intervals, "{}" for sets and bare lists."""
    text = text.strip()
    if text.startswith("\\{") and text.endswith("\\}"):
        return "{}"
    if text[:1] in "([" and text[-1:] in ")]" and "," in text and _closes_at_end(text):
        return text[:1] + text[-1:]
    return "{}" if "," in text or "\\pm" in text else ""


def _closes_at_end(text: str) -> bool:
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0:
            return position == len(text) - 1
    return False


def _decimal(match: re.Match, sign: int, unit: str) -> MathNumber:
    digits = match["decimal"].replace("{,}", "").replace(",", "")
    scale = Fraction(10) ** int(match["exponent"] or match["power"] or 0)
    _, _, places = digits.partition(".")
    significant = len(digits.replace(".", "").lstrip("0"))
    step = scale / 10 ** len(places) if places and significant >= 6 else None
    return MathNumber(sign * Fraction(digits.rstrip(".")) * scale, step, False, unit)


def _unit(text: str) -> str | None:
    text = text.strip()
    inner = _TEXT.fullmatch(text)
    if inner:
        unit = normalize_label(inner[1])
        return unit if _SIZES.isdisjoint(unit.split()) and not any(c.isnumeric() for c in unit) else None
    if _UNIT.fullmatch(text):
        return "percent" if "%" in text else "degree"
    text = _TEXT.sub(r"\1", text).replace("{", "").replace("}", "")
    return text if not text or text in _UNITS else None
