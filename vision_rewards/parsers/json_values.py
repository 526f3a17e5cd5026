"""JSON in an answer: whole, bare or in one code fence, without what makes it mean two things."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 16
_MARK = re.compile(r'["\\\[\]{}]')
_LANGUAGE = re.compile(r"\A[a-zA-Z]{0,10}\s")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
# A string that stays open reaches to the end: taken whole, so that no later quote starts another attempt.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"?|\'((?:[^\'\\]|\\.)*+)(\'?)', re.DOTALL)


def strip_fence(text: str) -> str | None:
    """What stands in the one Markdown code fence; all of the text without a fence; None for an open or a second one."""
    parts = text.split("```")
    if len(parts) == 1:
        return text
    return _LANGUAGE.sub("", parts[1], count=1) if len(parts) == 3 else None


def parse_json(text: str) -> tuple[Any, str]:
    """Read the one JSON value that the text, or its one code fence, consists of.

    Returns:
        (value, "ok"), or (None, reason): "truncated" where a bracket, string or fence stays open, "unparsable" for
        everything else that is not JSON, and for what Python's reader would accept all the same: NaN, Infinity, numbers
        beyond the floats, integers of more than 20 digits, a key that stands twice, nesting beyond `MAX_DEPTH`.
    """
    inside = strip_fence(text)
    if inside is None:
        return None, "truncated" if text.count("```") == 1 else "unparsable"
    depth, left_open = _nesting(inside)
    if left_open:
        return None, "truncated"
    if depth > MAX_DEPTH:
        return None, "unparsable"
    try:
        value = json.loads(
            inside,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_refuse,
            object_pairs_hook=_without_repeats,
        )
    except ValueError:
        return None, "unparsable"
    return value, "ok"


def single_quotes_to_json(text: str) -> str:
    """Rewrite `'…'` strings, as Python prints them, to JSON strings; `"…"` strings stay."""

    def rewrite(match: re.Match) -> str:
        if not match[2]:
            return match.group()
        return json.dumps(_ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[0]), match[1]), ensure_ascii=False)

    return _QUOTED.sub(rewrite, text)


def _nesting(text: str) -> tuple[int, bool]:
    """The deepest nesting of brackets outside strings, and whether a bracket or a string is still open at the end."""
    depth, deepest, in_string, escaped = 0, 0, False, -1
    for match in _MARK.finditer(text):
        mark = match.group()
        if match.start() == escaped:
            continue
        if mark == "\\":
            escaped = match.end()
        elif mark == '"':
            in_string = not in_string
        elif not in_string:
            depth += 1 if mark in "[{" else -1
            deepest = max(deepest, depth)
    return deepest, depth > 0 or in_string


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > 20:
        raise ValueError("too many digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("beyond the floats")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value
