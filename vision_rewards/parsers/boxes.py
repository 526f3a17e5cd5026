"""Boxes in an answer, as [x1, y1, x2, y2] in whatever coordinates the answer is written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from vision_rewards.parsers.geometry import (
    LIST,
    MAX_COORDINATE,
    NUMBER,
    PAIR,
    SEPARATOR,
    SPACE,
    is_coordinate,
    is_truncated,
)
from vision_rewards.parsers.json_values import parse_json

MAX_BOXES = 500
BOX_KEYS = ("bbox_2d", "bbox", "box")
LABEL_KEYS = ("label", "category")

_FOUR = rf"[\[(]{SPACE}({NUMBER}){SEPARATOR}({NUMBER}){SEPARATOR}({NUMBER}){SEPARATOR}({NUMBER}){SPACE}[\])]"
BOX_PATTERN = re.compile(rf"{_FOUR}|{PAIR}{SPACE},?{SPACE}{PAIR}")
# Qwen-VL and Qwen2-VL: a phrase, then the boxes of what it names.
_MARKUP = re.compile(
    r"<\|object_ref_start\|>(?P<label>[^<]{1,200})<\|object_ref_end\|>"
    rf"|<\|box_start\|>{SPACE}{PAIR}{SPACE},{SPACE}{PAIR}{SPACE}<\|box_end\|>"
)


class LabelledBox(NamedTuple):
    """One box of an answer, and its label if it has one."""

    box: list[float]
    label: str | None


def is_box(box: Sequence[float]) -> bool:
    """Whether x1 < x2 and y1 < y2, all four finite, within ±1e9, with an area above 1e-12."""
    x1, y1, x2, y2 = box
    if not all(math.isfinite(value) and abs(value) <= MAX_COORDINATE for value in box):
        return False
    return x1 < x2 and y1 < y2 and (x2 - x1) * (y2 - y1) > 1e-12


def read_box(value: Any) -> list[float] | None:
    """A list of four numbers that `is_box`, as floats; None for everything else."""
    if not isinstance(value, (list, tuple)) or len(value) != 4 or not all(map(is_coordinate, value)):
        return None
    box = [float(number) for number in value]
    return box if is_box(box) else None


def parse_boxes(text: str) -> tuple[list[list[float]], str]:
    """Read every box in the text: `[x1, y1, x2, y2]` (bare, or as a JSON value), parentheses, `(x1,y1),(x2,y2)`.

    Returns:
        (boxes, reason). Reason is "ok", "unparsable" where there is no box or a bracketed list of numbers that is not
        one, "truncated" where a bracket or a code fence stays open, or "bad_box" where a box is flipped, has no area,
        or is out of range.
    """
    boxes = [[float(number) for number in match.groups() if number is not None] for match in BOX_PATTERN.finditer(text)]
    if not boxes or LIST.search(BOX_PATTERN.sub(" ", text)):
        return boxes, "unparsable"
    if is_truncated(text):
        return boxes, "truncated"
    return boxes, "ok" if all(is_box(box) for box in boxes) else "bad_box"


def parse_labelled_boxes(text: str) -> tuple[list[LabelledBox], str]:
    """Read an answer that is a list of boxes, `[]` for none.

    The forms: JSON, bare or in one code fence, of `{"bbox_2d": [x1, y1, x2, y2], "label": "cat"}` objects (or `bbox`,
    `box`; `category`) or of bare boxes, in a list or alone; and Qwen2-VL's
    `<|object_ref_start|>cat<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>`. Other keys are not read.

    Returns:
        (boxes, "ok"), or ([], reason): "unparsable", "truncated", "bad_box" (flipped, no area, out of range) or
        "too_many_boxes" (more than `MAX_BOXES`).
    """
    if "<|box_start|>" in text:
        return _checked(_read_markup(text))
    value, reason = parse_json(text)
    if reason != "ok":
        return [], reason
    if isinstance(value, dict) or (isinstance(value, list) and len(value) == 4 and all(map(is_coordinate, value))):
        value = [value]
    if not isinstance(value, list):
        return [], "unparsable"
    return _checked([_read_item(item) for item in value])


def _checked(items: list[tuple[Any, str | None] | None]) -> tuple[list[LabelledBox], str]:
    if len(items) > MAX_BOXES:
        return [], "too_many_boxes"
    if any(item is None for item in items):
        return [], "unparsable"
    boxes = [(read_box(value), label) for value, label in items]
    if any(box is None for box, _ in boxes):
        return [], "bad_box"
    return [LabelledBox(box, label) for box, label in boxes], "ok"


def _read_item(item: Any) -> tuple[Any, str | None] | None:
    """(four numbers, label) of one item of the list; None where it has no box, several, or a label that is no str."""
    label = None
    if isinstance(item, dict):
        boxes = [item[key] for key in BOX_KEYS if key in item]
        labels = [item[key] for key in LABEL_KEYS if item.get(key) is not None]
        if len(boxes) != 1 or len(labels) > 1 or not all(isinstance(text, str) for text in labels):
            return None
        item, label = boxes[0], labels[0] if labels else None
    if not isinstance(item, list) or len(item) != 4 or not all(isinstance(n, (int, float)) for n in item):
        return None
    return item, label


def _read_markup(text: str) -> list[tuple[Any, str | None] | None]:
    items, label = [], None
    for match in _MARKUP.finditer(text):
        if match["label"] is not None:
            label = match["label"].strip()
        else:
            items.append(([float(number) for number in match.groups()[1:]], label))
    return items if len(items) == text.count("<|box_start|>") == text.count("<|box_end|>") else [None]
