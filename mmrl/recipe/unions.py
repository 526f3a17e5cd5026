"""Pydantic's errors about a value that may be of several kinds: one for the value, not one for each kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# How pydantic names a kind in an error's location; models go by their class.
_KIND = re.compile(
    r"(str|int|float|bool|none|date|datetime|bytes|any)$|(literal|list|tuple|set|dict|function-\w+)\[|[A-Z]"
)
_SHOULD_BE = "Input should be "


def join_kinds(errors: Iterable[Mapping[str, Any]], root: Any) -> list[dict[str, Any]]:
    """The errors with kinds taken out of their locations, and those about one value's kinds made one.

    A mapping is meant for the kind that takes keys, so what the others say of it is left out.

    Args:
        errors: `ValidationError.errors()`.
        root: what was read.
    """
    joined: list[dict[str, Any]] = []
    kinds_of: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for error in errors:
        place, depth = _without_kinds(error["loc"], root)
        item = {**error, "loc": place}
        if depth is None:
            joined.append(item)
            continue
        value = place[:depth]
        if value not in kinds_of:
            kinds_of[value] = []
            joined.append({"union": value})
        kinds_of[value].append(item)
    return [item for each in joined for item in (_summary(kinds_of[each["union"]]) if "union" in each else [each])]


def _without_kinds(location: tuple[Any, ...], root: Any) -> tuple[tuple[Any, ...], int | None]:
    """The location as keys and indices, and how many of them lead to the first value of several kinds (None: none)."""
    node, depth = root, None
    place: list[Any] = []
    for part in location:
        here = isinstance(node, Mapping) and part in node
        if isinstance(part, str) and not here and _KIND.match(part):
            depth = len(place) if depth is None and not part.startswith("function-") else depth
            continue
        place.append(part)
        node = _child(node, part)
    return tuple(place), depth


def _child(node: Any, part: Any) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    return node[part] if isinstance(node, list | tuple) and isinstance(part, int) and part < len(node) else None


def _summary(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    longest = max(len(item["loc"]) for item in items)
    deeper = [item for item in items if len(item["loc"]) == longest]
    if len(items) == 1 or longest > min(len(item["loc"]) for item in items):
        return deeper
    wanted = list(dict.fromkeys(item["msg"].removeprefix(_SHOULD_BE) for item in items))
    if len(wanted) == 1:
        return items[:1]
    return [{**items[0], "type": "kinds", "msg": f"{_SHOULD_BE}{', '.join(wanted[:-1])} or {wanted[-1]}"}]
