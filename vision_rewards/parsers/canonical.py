"""One form for answers that say the same, so that they can be compared and counted without a target."""

from __future__ import annotations

import re
from decimal import Decimal

from vision_rewards.parsers.choices import parse_choice
from vision_rewards.parsers.labels import normalize_label, strip_prefix
from vision_rewards.parsers.numbers import parse_number

_BARE_NUMBER = re.compile(r"[-+−]?\s?[$€£]?\s?[0-9.,]{1,60}(?:[eE][-+]?[0-9]{1,3})?\s?%?|[A-Za-z]{2,9}")


def canonical_answer(answer: str, options: dict[str, str] | None = None) -> str | None:
    """What an answer says, as a text that is equal for answers that say the same.

    With options: the letter that `parse_choice` reads. Else, where the answer is a number and nothing else but a
    currency or per cent sign (after "The answer is"): its value, so that 3, 3.0 and three are one; else the label
    that `normalize_label` gives.

    Returns:
        None where there is nothing to compare: no readable option, or nothing but punctuation.
    """
    if options is not None:
        return parse_choice(answer, options)[0]
    if is_bare_number(answer):
        value, reason = parse_number(strip_prefix(answer), percent=True)
        if reason == "ok" and abs(value.adjusted()) <= 100:
            return format_number(value)
    return normalize_label(strip_prefix(answer)) or None


def is_bare_number(answer: str) -> bool:
    """Whether an answer, after "The answer is", is digits with at most a currency or per cent sign, or one word."""
    return _BARE_NUMBER.fullmatch(strip_prefix(answer).rstrip(". ")) is not None


def format_number(value: Decimal) -> str:
    """The number without exponent and without zeros that say nothing: 3.0, 3e0 and 03 are "3"."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text
