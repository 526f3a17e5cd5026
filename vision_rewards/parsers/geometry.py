"""Numbers and brackets of boxes and points, shared by the readers of both."""

from __future__ import annotations

import math
import re
from typing import Any

MAX_COORDINATE = 1e9  # keeps areas finite
SPACE = r"\s{0,20}"
NUMBER = r"[-+]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][-+]?[0-9]{1,3})?"
SEPARATOR = rf"(?:{SPACE},{SPACE}|\s{{1,20}})"
PAIR = rf"[\[(]{SPACE}({NUMBER}){SEPARATOR}({NUMBER}){SPACE}[\])]"
# A bracket that starts a list of numbers: what is left of one after the boxes or points are taken out was neither.
LIST = re.compile(
    rf"[\[(]{SPACE}(?:{NUMBER}|[-+]?(?:nan|inf)[a-z]{{0,8}}){SPACE}(?:,|\s{{1,20}}[-+.0-9])", re.IGNORECASE
)
_STRING = re.compile(r'"[^"\\\n]{0,200}"')


def is_coordinate(value: Any) -> bool:
    """Whether `value` is an int or float within ±1e9; bool is no number here."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= MAX_COORDINATE and (isinstance(value, int) or math.isfinite(value))


def is_truncated(text: str) -> bool:
    """Whether a code fence, or a square or curly bracket outside short double-quoted strings, stays open."""
    text = _STRING.sub("", text)
    return text.count("```") % 2 == 1 or text.count("[") > text.count("]") or text.count("{") > text.count("}")
