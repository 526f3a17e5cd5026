"""Boxes and points of a target, wherever its keys hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Move = Callable[[Sequence[float]], list]


def move_places(target: Mapping[str, Any], keys: Mapping[str, str], move: Move) -> dict[str, Any]:
    """The target with every box and point replaced by what `move` makes of its numbers; nulls stay.

    Args:
        keys: target key -> one of `KINDS`, such as `registry.place_keys()`; keys that the target lacks do not matter.
        move: [x1, y1, x2, y2] or [x, y] to the same of another size.

    Raises:
        ValueError: a key holds something else than its kind; the message starts with the key.
    """
    moved = dict(target)
    for key, kind in keys.items():
        if target.get(key) is None:
            continue
        try:
            moved[key] = KINDS[kind](target[key], move)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{key!r} is {str(target[key])[:80]}, not {_FORMS[kind]}") from error
    return moved


def _numbers(value: Any, count: int) -> Sequence[float]:
    if not isinstance(value, (list, tuple)) or len(value) != count or not all(map(_is_number, value)):
        raise ValueError(value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _box(value: Any, move: Move) -> list:
    return move(_numbers(value, 4))


def _boxes(value: Any, move: Move) -> list:
    return [
        {**item, "box": _box(item["box"], move)} if isinstance(item, Mapping) else _box(item, move) for item in value
    ]


def _track(value: Any, move: Move) -> dict:
    return {frame: None if box is None else _box(box, move) for frame, box in value.items()}


KINDS = {
    "box": _box,
    "boxes": _boxes,
    "point": lambda value, move: move(_numbers(value, 2)),
    "track": _track,
}
_FORMS = {
    "box": "[x1, y1, x2, y2]",
    "boxes": "a list of [x1, y1, x2, y2] or of {box: [x1, y1, x2, y2]}",
    "point": "[x, y]",
    "track": "frame → [x1, y1, x2, y2]",
}
