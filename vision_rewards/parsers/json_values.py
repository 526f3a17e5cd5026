"""JSON in an answer: whole, bare or in one code fence, without what makes it mean two things."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 16
MAX_REPAIRED = 20_000  # characters
_MARK = re.compile(r'["\\]|[\[{]+|[\]}]+')
_LANGUAGE = re.compile(r"\A[a-zA-Z]{0,10}\s")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
# A string that stays open reaches to the end: taken whole, so that no later quote starts another attempt.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"?|\'((?:[^\'\\]|\\.)*+)(\'?)', re.DOTALL)

_STRING = r'"(?:[^"\\\n]|\\.){0,2000}+"'
_REPAIRS = re.compile(
    rf"(?P<string>{_STRING})|//[^\n]*|/\*[^*]{{0,500}}\*/|,(?=\s{{0,200}}[\]}}])|\b(?:None|True|False)\b"
    r"|(?P<tuple>\(\s{0,5}-?[0-9.]{1,20}(?:\s{0,5},\s{0,5}-?[0-9.]{1,20}){1,3}\s{0,5}\))"
)
# Prose around a value: words, of which the last before it introduces it.
_BEFORE = re.compile(
    r"\s{0,200}(?:[A-Za-z*#][\w'’,.*#\s-]{1,400}(?<=[\w*]{2}):?[*\s]{0,20}|[\u4e00-\u9fff\s，。]{2,100}[:：]?\s*)?"
)
_AFTER = re.compile(r"[\s.;。]{0,20}(?:\n[\s*]{0,10}[A-Za-z][\w'’,.*\s-]{1,400})?")
_BETWEEN_OBJECTS = re.compile(r"\}(?:\s{0,5},\s{0,5}|[ \t]{0,5}\n\s{0,5})\{")


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
    try:
        value = json.loads(
            inside,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_refuse,
            object_pairs_hook=_without_repeats,
        )
    except (ValueError, RecursionError):
        return None, "truncated" if _nesting(inside)[1] else "unparsable"
    if inside.count("[") + inside.count("{") > MAX_DEPTH and _nesting(inside)[0] > MAX_DEPTH:
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
            mark = mark[1:]
        if not mark:
            continue
        if mark == "\\":
            escaped = match.end()
        elif mark == '"':
            in_string = not in_string
        elif not in_string:
            depth += len(mark) if mark[0] in "[{" else -len(mark)
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


def parse_written_json(text: str) -> tuple[Any, str]:
    """Read the one JSON value of an answer, also as models write it.

    Beyond `parse_json`: comments, trailing commas, Python's spelling (`'…'`, `None`, `(1, 2)`), objects between commas
    or line breaks without a list around them, and prose around the value that has no bracket of its own. What is cut
    off, said twice, or not one value stays unread.

    Returns:
        As `parse_json`.
    """
    value, reason = parse_json(text)
    inside = strip_fence(text)
    if reason == "ok" or inside is None or len(inside) > MAX_REPAIRED:
        return value, reason
    segment = _one_value(single_quotes_to_json(inside) if "'" in inside else inside)
    if segment is None:
        return None, reason
    value, repaired = parse_json(_repaired(segment))
    return (value, "ok") if repaired == "ok" else (None, reason)


def _one_value(text: str) -> str | None:
    """The text from its first bracket to its last, objects that follow each other as a list; None if it is cut off."""
    starts = [place for place in (text.find("["), text.find("{")) if place >= 0]
    end = max(text.rfind("]"), text.rfind("}"))
    if not starts or end < min(starts):
        return None
    start = min(starts)
    segment = text[start : end + 1]
    depth, left_open = _nesting(segment)
    if left_open or depth > MAX_DEPTH or not (_BEFORE.fullmatch(text, 0, start) and _AFTER.fullmatch(text, end + 1)):
        return None
    return (
        f"[{_BETWEEN_OBJECTS.sub('},{', segment)}]"
        if segment[0] == "{" and _BETWEEN_OBJECTS.search(segment)
        else segment
    )


def _repaired(text: str) -> str:
    """The text without comments and trailing commas, Python's constants and tuples as JSON's."""
    return _REPAIRS.sub(_repair, text)


def _repair(match: re.Match) -> str:
    if match["string"] is not None:
        return match["string"]
    if match["tuple"] is not None:
        return f"[{match['tuple'][1:-1]}]"
    return {"None": "null", "True": "true", "False": "false"}.get(match[0], "")
