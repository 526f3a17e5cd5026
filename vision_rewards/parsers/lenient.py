"""Readers as lenient as the evaluation suites' own, to match published numbers. Not for rewards: they can be gamed."""

from __future__ import annotations

import re

from vision_rewards.parsers.boxes import BOX_PATTERN, LabelledBox, is_box
from vision_rewards.parsers.json_values import single_quotes_to_json

_LMMS_NUMBER = r"(-?\d{1,400}(?:\.\d{1,400})?)"
_LMMS_BOX = re.compile(rf"\[\s*{_LMMS_NUMBER},\s*{_LMMS_NUMBER},\s*{_LMMS_NUMBER},\s*{_LMMS_NUMBER}\s*\]")
_AGUVIS_POINT = re.compile(r"x=([\d.]{1,400}), y=([\d.]{1,400})")
_ITEM = re.compile(r"\{[^{}]{0,2000}\}")
_LABEL = re.compile(r'"(?:label|category)"\s{0,20}:\s{0,20}"((?:[^"\\]|\\.){0,500}+)"')


def parse_box_lmms_eval(text: str) -> list[float]:
    """The first `[a, b, c, d]` with commas and no exponents, else [0, 0, 0, 0]: lmms-eval's RefCOCO REC and ScreenSpot.

    Differs from `parse_boxes`: other brackets, `.5` and blanks as separators are not read; further boxes, a thinking
    block and an answer tag are ignored; nothing is checked.
    """
    match = _LMMS_BOX.search(text)
    return [float(number) for number in match.groups()] if match else [0.0, 0.0, 0.0, 0.0]


def parse_point_vlmevalkit(text: str) -> list[float]:
    """The first `x=…, y=…`, else [0, 0]: VLMEvalKit's ScreenSpot reader for `pyautogui.click(x=…, y=…)`.

    Differs from `parse_points`: a miss is the corner (0, 0), which may lie in a target; further points are ignored.
    Where the suite would raise, for `x=1.2.3`, this gives the corner too.
    """
    match = _AGUVIS_POINT.search(text)
    try:
        return [float(number) for number in match.groups()] if match else [0.0, 0.0]
    except ValueError:
        return [0.0, 0.0]


def parse_boxes_lenient(text: str) -> list[LabelledBox]:
    """Every complete box, from answers that `parse_labelled_boxes` refuses: prose around, cut off, `'…'` strings.

    What Qwen's cookbooks and supervision's Qwen reader keep of such an answer: whole `{…}` objects before the cut.
    Boxes that are flipped or empty are left out; a box outside any object has no label.
    """
    boxes = []
    for match in _ITEM.finditer(text):
        label = _LABEL.search(single_quotes_to_json(match.group()))
        boxes += [LabelledBox(box, label[1] if label else None) for box in _boxes_in(match.group())]
    return boxes + [LabelledBox(box, None) for box in _boxes_in(_ITEM.sub(" ", text))]


def _boxes_in(text: str) -> list[list[float]]:
    boxes = [[float(number) for number in match.groups() if number is not None] for match in BOX_PATTERN.finditer(text)]
    return [box for box in boxes if is_box(box)]
