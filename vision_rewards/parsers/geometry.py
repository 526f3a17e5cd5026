"""Numbers, brackets and other spellings of boxes and points, shared by the readers of both."""

from __future__ import annotations

import math
import re
from typing import Any

from vision_rewards.parsers.short_answers import statements

MAX_COORDINATE = 1e9  # keeps areas finite
SPACE = r"\s{0,20}"
NUMBER = r"[-+]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][-+]?[0-9]{1,3})?"
SEPARATOR = rf"(?:{SPACE},{SPACE}|\s{{1,20}})"
PAIR = rf"[\[(]{SPACE}({NUMBER}){SEPARATOR}({NUMBER}){SPACE}[\])]"
# A bracket that starts a list of numbers: what is left of one after the boxes or points are taken out was neither.
LIST = re.compile(
    rf"[\[(]{SPACE}(?:{NUMBER}|[-+]?(?:nan|inf)[a-z]{{0,8}}){SPACE}(?:,|\s{{1,20}}[-+.0-9])", re.IGNORECASE
)
BRACKETS = str.maketrans("［］【】（），：＝０１２３４５６７８９．－", "[][](),:=0123456789.-")
# Spellings that come down to a bracket of numbers. Each is bounded, and leaves the count of brackets even.
COMMA = rf"{SPACE},{SPACE}"
_TAGGED = re.compile(
    rf"<(box|bbox|click|point|coords?|coordinates?|position)>{SPACE}({NUMBER}(?:{SEPARATOR}{NUMBER}){{1,3}}){SPACE}</\1>"
)
_BRACED = re.compile(rf"\{{{SPACE}({NUMBER}(?:{COMMA}{NUMBER}){{1,3}}){SPACE}\}}")
_QUOTED = re.compile(rf"[\"']({NUMBER})[\"'](?={SPACE}[,\]])")
_QUOTED_LIST = re.compile(rf"[\"']{SPACE}({NUMBER}(?:{COMMA}{NUMBER}){{1,3}}){SPACE}[\"']")
_NAMES_OFCORNERS = re.compile(
    rf"\({SPACE}x_?[12]?{COMMA}y_?[12]?{SPACE}\){SPACE}(?:=|is){SPACE}(?=[\[(])", re.IGNORECASE
)
_PIXELS = re.compile(rf"({NUMBER}){SPACE}(?:px|pixels)\b")
IS = rf"[\"']?{SPACE}[:=]{SPACE}"
_NAMED_POINT = re.compile(
    rf"[\"']?\bx{IS}({NUMBER}){SPACE}[,;]{SPACE}(?:and\s)?[\"']?y{IS}({NUMBER})"
    rf"(?!{SPACE},{SPACE}[\"']?(?:w|h|width|height|x2|z)\b)",
    re.IGNORECASE,
)
CORNERS = (
    *(("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max")),
    ("left", "top", "right", "bottom"),
)
SEP = rf"{SPACE}[,;]?{SPACE}[\"']?"
_NAMED_BOX = re.compile(
    "|".join(rf"[\"']?\b{SEP.join(f'{name}{IS}({NUMBER})' for name in names)}" for names in CORNERS), re.IGNORECASE
)
_JOINED = re.compile(
    rf"({PAIR}){SPACE}(?:,|;|and|to|-|–|→)?{SPACE}(?:the\s)?(?:bottom|lower)[- ]?right(?: corner)?(?:\s(?:is|at))?:?"
    rf"{SPACE}({PAIR})"
    rf"|({PAIR})\s?(?:to|-|–|→)\s?({PAIR})",
    re.IGNORECASE,
)
_BRACKET = re.compile(r"[\[(]")
_BARE_LIST = re.compile(
    rf"(?:[A-Za-z][\w ]{{0,20}}[:=])?{SPACE}({NUMBER}{COMMA}{NUMBER}(?:{COMMA}{NUMBER}{COMMA}{NUMBER})?){SPACE}\.?"
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


def in_brackets(text: str) -> str:
    """The text with the spellings of boxes and points that models use beside brackets written as brackets.

    Full-width marks, `<box>1 2 3 4</box>`, `{1, 2, 3, 4}`, `"12"` and `12px` as numbers, `x=3, y=4`, `x1: 1, y1: 2, …`,
    "top-left (1, 2), bottom-right (3, 4)", "from (1, 2) to (3, 4)". An answer that is nothing but two or four numbers
    gets its brackets.
    """
    if not text.isascii():
        text = text.translate(BRACKETS)
    if not _BRACKET.search(text) and (bare_list := _BARE_LIST.fullmatch(statements(text)[-1])):
        return f"[{bare_list[1]}]"
    if "p" in text:
        text = _PIXELS.sub(r"\1", text)
    if '"' in text or "'" in text:
        text = _QUOTED_LIST.sub(r"[\1]", _QUOTED.sub(r"\1", text))
    if "=" in text or ":" in text:
        text = _NAMED_BOX.sub(lambda m: f"[{', '.join(number for number in m.groups() if number)}]", text)
        text = _NAMED_POINT.sub(r"[\1, \2]", _NAMES_OFCORNERS.sub("", text))
    if "<" in text:
        text = _TAGGED.sub(r"[\2]", text)
    if "{" in text:
        text = _BRACED.sub(r"[\1]", text)
    return _JOINED.sub(_pair, text) if ")" in text or "t" in text else text


def _pair(match: re.Match) -> str:
    numbers = [number for number in match.groups() if number is not None and number[0] not in "[("]
    return f"[{', '.join(numbers)}]"
