"""Reading a dataset's plain answer: text, a number, a list or a mapping, as published files have it.

Every reader raises ValueError, with a message of one line, for what does not fit.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from vision_rewards.parsers import parse_intervals, parse_timestamp
from vision_rewards.parsers.json_values import parse_written_json

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_GROUPED = re.compile(r"\s*[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?\s*")
# `Position` is Visual-RFT's.
_BOX_KEYS = ("box", "boxes", "bbox_2d", "bbox", "Position")
_OPTION = re.compile(r"^\s*\(?([A-Z])\s*[.:)]\s*(.*)$", re.DOTALL)


class Plain(NamedTuple):
    """A form of plain answer that a reward takes.

    Attributes:
        form: what it may be, for the reference page.
        answer: one such answer.
        options: the options that come with it.
        tasks: the tasks whose answers have this form, of those that the reward declares; empty: all others.
    """

    form: str
    answer: Any
    options: Any = None
    tasks: tuple[str, ...] = ()


def answer_text(text: str) -> str:
    """The text of the last <answer> block, or all of it where there is none."""
    blocks = _ANSWER.findall(text)
    return (blocks[-1] if blocks else text).strip()


def read_options(options: Any) -> dict[str, str]:
    """Options by letter, from a mapping or from a list such as `["A. cat", "B. dog"]` or `["cat", "dog"]`.

    Raises:
        ValueError: not a mapping or list of texts, or more than 26.
    """
    if options is None:
        return {}
    if isinstance(options, Mapping):
        texts = {str(key).strip().upper(): value for key, value in options.items() if value is not None}
        marked = {key: _OPTION.match(scalar_of(value)) for key, value in texts.items()}
        if texts and all(match and match[1] == key for key, match in marked.items()):
            texts = {key: match[2] for key, match in marked.items() if match}
    elif isinstance(options, Sequence) and not isinstance(options, (str, bytes)):
        values = [scalar_of(value) for value in options]
        letters = [chr(ord("A") + i) for i in range(len(values))]
        marked = [_OPTION.match(value) for value in values]
        if values and all(match and match[1] == letter for match, letter in zip(marked, letters)):
            values = [match[2] for match in marked if match]
        texts = dict(zip(letters, values))
    else:
        raise ValueError(f"options are a list or a mapping, not {type(options).__name__}")
    if len(texts) > 26 or any(not re.fullmatch("[A-Z]", letter) for letter in texts):
        raise ValueError(f"options need the letters A to Z, got {list(texts)[:30]}")
    return {letter: scalar_of(value).strip() for letter, value in texts.items()}


def marked_letter(text: str) -> str | None:
    """The capital of a text such as `B. a dog` or `(B) a dog`; None where it has none."""
    match = _OPTION.match(text)
    return match[1] if match else None


def scalar_of(value: Any) -> str:
    """A text, truth value or number as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return str(value)
    raise ValueError(f"expected text, got {type(value).__name__}")


def text_of(value: Any) -> str:
    """Any answer as text that is not empty; lists and mappings as JSON."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else scalar_of(value).strip()
    if not text:
        raise ValueError("the answer is empty")
    return text


def number_of(value: Any) -> float:
    """A finite number, from a number or from text such as `1,024.5`, `1/2` or `5%` (5).

    A comma is a mark of thousands or an error: `3,5` may be read as 35 or as 3.5.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r:.80} is not a number")
    written = value.strip().rstrip("%") if isinstance(value, str) else ""
    if "," in written and not all(map(_GROUPED.fullmatch, written.split("/"))):
        raise ValueError(f"{value!r:.80} has a comma that marks no thousands; write it with a point, such as 3.5")
    try:
        if isinstance(value, str):
            top, slash, bottom = written.replace(",", "").partition("/")
            number = float(top) / float(bottom) if slash else float(top)
        else:
            number = float(value)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"{value!r:.80} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{value!r:.80} is not a finite number")
    return number


def structure_of(value: Any) -> Any:
    """A list or mapping as it is; from text, the first JSON list or object in it, or one as Python writes it."""
    if not isinstance(value, str):
        return value
    written, reason = parse_written_json(value) if "'" in value else (None, "")
    if reason == "ok" and isinstance(written, (list, dict)):
        return written
    decoder = json.JSONDecoder()
    for start in islice(re.finditer(r"[\[{]", value), 100):
        try:
            return decoder.raw_decode(value, start.start())[0]
        except (ValueError, RecursionError):
            continue
    raise ValueError(f"{value!r:.80} holds no JSON list or object")


def box_of(value: Any) -> list[float]:
    """[x1, y1, x2, y2] with x1 < x2 and y1 < y2."""
    if not _is_list(value) or len(value) != 4:
        raise ValueError(f"{value!r:.80} is not a box [x1, y1, x2, y2]")
    box = [_whole(number_of(side), side) for side in value]
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"box {box} needs x1 < x2 and y1 < y2")
    return box


def labelled_box_of(value: Any) -> dict[str, Any]:
    """`{"box": […]}` with `label` where there is one, or `{"boxes": […]}` of several."""
    value, label = structure_of(value), None
    if isinstance(value, Mapping):
        label = value.get("label")
        boxes = [value[key] for key in _BOX_KEYS if value.get(key) is not None]
        if not boxes:
            raise ValueError(f"no box among the keys {sorted(map(str, value))[:20]}")
        value = boxes[0]
    if isinstance(value, list) and value and all(isinstance(item, (list, Mapping)) for item in value):
        items = [labelled_box_of(item) for item in value]
        if len(items) > 1:
            return {"boxes": [item["box"] for item in items if "box" in item]}
        return items[0]
    return {"box": box_of(value)} | ({"label": str(label)} if label is not None else {})


def interval_of(value: Any) -> list:
    """[start, end] in seconds, or a list of several; from text also `from 3 to 5 s` or `00:12 - 00:20`."""
    value = _written_spans(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        ends = [value["start"], value["end"]] if {"start", "end"} <= value.keys() else None
        value = value.get("time", value.get("interval", ends))
    if _is_list(value) and value and all(map(_is_list, value)):
        return [_span_of(item) for item in value] if len(value) > 1 else _span_of(value[0])
    return _span_of(value)


def moment_of(value: Any) -> float:
    """Seconds, from a number or from text such as `72.5`, `01:12` or `1 min 12 s`."""
    if isinstance(value, str):
        seconds, _ = parse_timestamp(value[:100])
        if seconds is None:
            raise ValueError(f"{value!r:.80} is not a moment such as 72.5 or 01:12")
        return seconds
    return _whole(number_of(value), value)


def track_of(value: Any) -> dict[str, list[float]]:
    """Box by frame, from a mapping of them, bare or under `boxes` or `track`; frames without a box are left out."""
    value = structure_of(value)
    boxes = None
    if isinstance(value, Mapping):
        boxes = next((value[key] for key in ("boxes", "track") if value.get(key) is not None), value)
    if not boxes or not isinstance(boxes, Mapping) or not all(_is_frame(frame) for frame in boxes):
        raise ValueError("expected boxes by frame: {'boxes': {'0': [x1, y1, x2, y2], ...}}")
    return {str(frame): box_of(box) for frame, box in boxes.items() if box is not None}


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _written_spans(text: str) -> Any:
    try:
        return structure_of(text)
    except ValueError:
        spans, reason = parse_intervals(text)
    if reason != "ok":
        raise ValueError(f"{text!r:.80} is not an interval such as [3, 5] or 00:12 - 00:20")
    return [list(span) for span in spans]


def _is_frame(key: Any) -> bool:
    try:
        return number_of(key) >= 0
    except ValueError:
        return False


def _whole(number: float, written: Any) -> float:
    return int(number) if number == int(number) and isinstance(written, int) else number


def _span_of(value: Any) -> list[float]:
    if not _is_list(value) or len(value) != 2:
        raise ValueError(f"{value!r:.80} is not an interval [start, end] in seconds")
    span = [moment_of(end) if isinstance(end, str) and ":" in end else _whole(number_of(end), end) for end in value]
    if span[1] < span[0]:
        raise ValueError(f"interval {span} ends before it starts")
    return span
