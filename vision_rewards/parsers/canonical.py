"""One form for answers that say the same, so that they can be compared and counted without a target."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from vision_rewards.parsers.choices import parse_choice
from vision_rewards.parsers.labels import normalize_label
from vision_rewards.parsers.math_text import parse_math_number, strip_math
from vision_rewards.parsers.numbers import parse_number
from vision_rewards.parsers.short_answers import bare, statements

_BARE_NUMBER = re.compile(r"[-+−]?\s?[$€£]?\s?[0-9.,]{1,60}(?:[eE][-+]?[0-9]{1,3})?\s?%?|[A-Za-z]{2,9}")
_MATHEMATICAL = ("\\", "/", "^", "√", "½", "$")


def canonical_answer(answer: str, options: dict[str, str] | None = None) -> str | None:
    """What an answer says, as a text that is equal for answers that say the same.

    With options: the letter that `parse_choice` reads. Else, of what the answer says without its dressing: its value,
    where that is a number and nothing else but a currency or per cent sign, so that 3, 3.0 and three are one, and ½,
    0.5, 1/2 and \\frac{1}{2} too; other LaTeX without its layout; else the label that `normalize_label` gives.

    Returns:
        None where there is nothing to compare: no readable option, or nothing but punctuation.
    """
    if options is not None:
        return parse_choice(answer, options)[0]
    said = statements(answer)[-1]
    if is_bare_number(said):
        value, reason = parse_number(said, percent=True)
        if reason == "ok" and abs(value.adjusted()) <= 100:
            return format_number(value)
    if any(mark in said for mark in _MATHEMATICAL):
        text = strip_math(said)
        number = parse_math_number(text)
        if number is not None and not number.unit:
            return _format_fraction(number.value)
        if "\\" in text:
            return "".join(text.split())
    return normalize_label(said) or None


def is_bare_number(answer: str) -> bool:
    """Whether an answer, without its dressing, is digits with at most a currency or per cent sign, or one word."""
    return _BARE_NUMBER.fullmatch(bare(answer)) is not None


def _format_fraction(value: Fraction) -> str:
    under = value.denominator
    for factor in (2, 5):
        while under % factor == 0:
            under //= factor
    digits = str(value.denominator)
    return (
        format_number(Decimal(value.numerator) / value.denominator) if under == 1 and len(digits) < 10 else str(value)
    )


def format_number(value: Decimal) -> str:
    """The number without exponent and without zeros that say nothing: 3.0, 3e0 and 03 are "3"."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text
