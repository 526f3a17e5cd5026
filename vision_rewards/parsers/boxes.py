"""Boxes in an answer, as [x1, y1, x2, y2] in whatever coordinates the answer is written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from vision_rewards.parsers.geometry import (
    CORNERS,
    LIST,
    MAX_COORDINATE,
    NUMBER,
    PAIR,
    SEPARATOR,
    SPACE,
    in_brackets,
    is_coordinate,
    is_truncated,
)
from vision_rewards.parsers.json_values import parse_written_json
from vision_rewards.parsers.number_words import says_none
from vision_rewards.parsers.short_answers import bare

MAX_BOXES = 500
ORDERS = ("xy", "yx")
BOX_KEYS = ("bbox_2d", "bbox", "box", "box_2d", "bounding_box")
LABEL_KEYS = ("label", "category", "name", "class", "object")
LIST_KEYS = ("objects", "boxes", "detections", "results", "annotations", "predictions")

_FOUR = rf"[\[(]{SPACE}({NUMBER}){SEPARATOR}({NUMBER}){SEPARATOR}({NUMBER}){SEPARATOR}({NUMBER}){SPACE}[\])]"
BOX_PATTERN = re.compile(rf"{_FOUR}|{PAIR}{SPACE},?{SPACE}{PAIR}")
_DIGITS = r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
# The usual answer, read without the patterns above, which agree.
_USUAL = re.compile(rf"\[{_DIGITS}, ?{_DIGITS}, ?{_DIGITS}, ?{_DIGITS}\]")
_ONE_NUMBER = re.compile(NUMBER)
# Four numbers and a confidence.
_SCORED = re.compile(rf"\[({SPACE}{NUMBER}(?:{SEPARATOR}{NUMBER}){{3}}){SPACE},{SPACE}0?\.[0-9]{{1,20}}{SPACE}\]")
_LABEL_LINE = re.compile(
    rf"\s{{0,5}}(?:[-*•]|[0-9]{{1,3}}[.)])?\s{{0,5}}[*\"']{{0,2}}([^:\[\](){{}}\n*\"']{{1,80}})[*\"']{{0,2}}\s{{0,3}}[:=]?"
    rf"[*\s]{{0,3}}{_FOUR}[.,;]?\s{{0,5}}"
)
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


def in_order(box: Sequence[float], order: str) -> list[float]:
    """A box or point as x first, from one whose order is "xy", or "yx" as Gemini writes; its own inverse."""
    if order == "xy":
        return list(box)
    return [value for x, y in zip(box[::2], box[1::2]) for value in (y, x)]


def parse_boxes(text: str) -> tuple[list[list[float]], str]:
    """Read every box in the text: `[x1, y1, x2, y2]` (bare, or as a JSON value), parentheses, `(x1,y1),(x2,y2)`.

    And the spellings of `geometry.in_brackets`; of a JSON object the one box, beside numbers that are none.

    Returns:
        (boxes, reason). Reason is "ok", "unparsable" where there is no box or a bracketed list of numbers that is not
        one, "truncated" where a bracket or a code fence stays open, or "bad_box" where a box is flipped, has no area,
        or is out of range.
    """
    if usual := _USUAL.fullmatch(text):
        box = [float(number) for number in usual.groups()]
        return [box], "ok" if is_box(box) else "bad_box"
    text = in_brackets(text)
    if "." in text:
        text = _SCORED.sub(r"[\1]", text)
    boxes = [[float(number) for number in match.groups() if number is not None] for match in BOX_PATTERN.finditer(text)]
    if len(boxes) == 1 and "{" in text and (only := _only_box(text)) is not None:
        return [only], "ok"
    if not boxes or LIST.search(BOX_PATTERN.sub(" ", text)):
        return boxes, "unparsable"
    if is_truncated(text):
        return boxes, "truncated"
    return boxes, "ok" if all(is_box(box) for box in boxes) else "bad_box"


def parse_labelled_boxes(text: str) -> tuple[list[LabelledBox], str]:
    """Read an answer that is a list of boxes, `[]` for none.

    The forms: JSON as `parse_written_json` reads it, of `{"bbox_2d": [x1, y1, x2, y2], "label": "cat"}` objects (or the
    other `BOX_KEYS` and `LABEL_KEYS`) or of bare boxes, in a list, under one of `LIST_KEYS`, or alone; a mapping of
    labels to a box or boxes; lines `cat: [x1, y1, x2, y2]`; Qwen2-VL's
    `<|object_ref_start|>cat<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>`; and a sentence that says that
    nothing was found. Other keys are not read.

    Returns:
        (boxes, "ok"), or ([], reason): "unparsable", "truncated", "bad_box" (flipped, no area, out of range) or
        "too_many_boxes" (more than `MAX_BOXES`).
    """
    if "<|box_start|>" in text:
        return _check_items(_read_markup(text))
    value, reason = parse_written_json(text)
    if reason != "ok":
        if (items := _read_lines(text)) is not None:
            return _check_items(items)
        said = bare(text)
        return [], "ok" if reason == "unparsable" and len(said.split()) > 2 and says_none(said) else reason
    if isinstance(value, dict):
        value = _items_of(value)
    if isinstance(value, dict) or (isinstance(value, list) and len(value) == 4 and all(map(is_coordinate, value))):
        value = [value]
    if not isinstance(value, list):
        return [], "unparsable"
    return _check_items([_read_item(item) for item in value])


def _check_items(items: list[tuple[Any, str | None] | None]) -> tuple[list[LabelledBox], str]:
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
        boxes += [[item[side] for side in sides] for sides in CORNERS if item.keys() >= {*sides}]
        labels = [item[key] for key in LABEL_KEYS if item.get(key) is not None]
        if len(boxes) != 1 or len(labels) > 1 or not all(isinstance(text, str) for text in labels):
            return None
        item, label = boxes[0], labels[0] if labels else None
    elif isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
        label, item = item
    if isinstance(item, list) and len(item) == 4 and all(isinstance(n, str) and _ONE_NUMBER.fullmatch(n) for n in item):
        item = list(map(float, item))
    if not isinstance(item, list) or len(item) != 4 or not all(isinstance(n, (int, float)) for n in item):
        return None
    return item, label


def _items_of(value: dict[str, Any]) -> Any:
    """The list of an object that holds only that, the items of one that maps labels to boxes, else the object."""
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), list) and next(iter(value)) in LIST_KEYS:
        return inner
    if not value or not value.keys().isdisjoint((*BOX_KEYS, *LABEL_KEYS)):
        return value
    items = []
    for label, boxes in value.items():
        if not isinstance(boxes, list) or not boxes:
            return value
        boxes = boxes if all(isinstance(box, list) for box in boxes) else [boxes]
        items += [{"label": label, "bbox_2d": box} for box in boxes]
    return items


def _read_lines(text: str) -> list[tuple[Any, str | None]] | None:
    """The boxes of a text of which every line is a label and its box; None for other texts."""
    lines = [_LABEL_LINE.fullmatch(line) for line in text.split("\n") if line.strip()]
    if not lines or not all(lines):
        return None
    return [([float(number) for number in line.groups()[1:]], line[1].strip()) for line in lines if line]


def _only_box(text: str) -> list[float] | None:
    """The box of a JSON object, or of the one in a list, whose other values are no lists that could be boxes."""
    value, reason = parse_written_json(text)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if reason != "ok" or not isinstance(value, dict):
        return None
    boxes = [value[key] for key in BOX_KEYS if key in value]
    others = [item for key, item in value.items() if key not in BOX_KEYS]
    if len(boxes) != 1 or not all(_is_no_box(item) for item in others):
        return None
    return read_box(boxes[0])


def _is_no_box(value: Any) -> bool:
    flat = isinstance(value, list) and all(isinstance(item, (int, float, str)) for item in value) and len(value) < 4
    return flat or not isinstance(value, (list, dict))


def _read_markup(text: str) -> list[tuple[Any, str | None] | None]:
    items, label = [], None
    for match in _MARKUP.finditer(text):
        if match["label"] is not None:
            label = match["label"].strip()
        else:
            items.append(([float(number) for number in match.groups()[1:]], label))
    return items if len(items) == text.count("<|box_start|>") == text.count("<|box_end|>") else [None]
