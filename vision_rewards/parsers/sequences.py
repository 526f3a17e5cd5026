"""Lists in an answer: class names, option letters, an order of events."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from vision_rewards.parsers.json_values import parse_json, strip_fence

MAX_ITEMS = 1000

_ARROWS = re.compile(r"-{1,2}>|={1,2}>|→|⇒|>")
_SEPARATORS = re.compile(r"[,;\n、，；]")
_NUMBERING = re.compile(r"\s{0,20}\(?([0-9]{1,4})[.)]\s{1,20}(?=\S)")
_AND = re.compile(r"(?:and|&)\s{1,20}(?=\S)", re.IGNORECASE)
_WORDS = re.compile(r"\S{1,200}")


def parse_items(text: str, *, spaces: bool = False) -> tuple[list[str] | None, str]:
    """Read a list of short texts: a JSON list, or items between commas, semicolons, arrows or line breaks.

    Brackets around the whole, "and" before the last item, and a numbering of lines that counts from 1 are dropped.
    Arrows separate before commas do, so that `red, big -> blue` has two items.

    Args:
        text: an answer.
        spaces: where nothing else separates, let blanks do: `3 1 2`.

    Returns:
        (items, "ok"), none of them empty; or (None, reason): "unparsable" where there is none, a nested or broken JSON
        list, or more than `MAX_ITEMS`.
    """
    text = (strip_fence(text) or "").strip()
    if text.startswith("["):
        value, reason = parse_json(text)
        if reason == "ok":
            return _from_json(value)
        # `[cat, dog]` is a list to a reader, though not to JSON.
        if not text.endswith("]") or text.count("[") != 1 or '"' in text:
            return None, "unparsable"
    if text[:1] + text[-1:] in ("[]", "()") and text.count(text[0]) == 1:
        text = text[1:-1].strip()
    pieces = _pieces(text, spaces)
    items = [piece.strip() for piece in pieces if piece.strip()]
    if len(items) > 1:
        items[-1] = _AND.sub("", items[-1], count=1) if _AND.match(items[-1]) else items[-1]
    return (items, "ok") if 0 < len(items) <= MAX_ITEMS else (None, "unparsable")


def parse_distinct(text: str, read_item: Callable[[str], Any], *, spaces: bool = False) -> tuple[list[Any] | None, str]:
    """`parse_items`, each item read by a function that returns None for what it does not know.

    Returns:
        (values, "ok"), or (None, reason): "repeated" where two items have one value, and "unparsable".
    """
    items, reason = parse_items(text, spaces=spaces)
    if items is None:
        return None, reason
    values = [read_item(item) for item in items]
    if any(value is None for value in values):
        return None, "unparsable"
    return (values, "ok") if len(set(values)) == len(values) else (None, "repeated")


def _from_json(value: Any) -> tuple[list[str] | None, str]:
    scalars = isinstance(value, list) and all(type(item) in (str, int, float) for item in value)
    if not scalars or not 0 < len(value) <= MAX_ITEMS:
        return None, "unparsable"
    items = [str(item).strip() for item in value]
    return (items, "ok") if all(items) else (None, "unparsable")


def _pieces(text: str, spaces: bool) -> list[str]:
    if _ARROWS.search(text):
        return _ARROWS.split(text)
    lines = [line for line in text.split("\n") if line.strip()]
    numbers = [_NUMBERING.match(line) for line in lines]
    if len(lines) > 1 and all(number and int(number[1]) == row for row, number in enumerate(numbers, 1)):
        return [line[number.end() :] for line, number in zip(lines, numbers)]
    if _SEPARATORS.search(text):
        return _SEPARATORS.split(text)
    return _WORDS.findall(text) if spaces else [text]
