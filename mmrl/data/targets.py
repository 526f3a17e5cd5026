"""From a dataset's answer to the target that the task's reward reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_OPTION = re.compile(r"^\s*\(?([A-Z])\s*[.:)]\s*(.*)$", re.DOTALL)
_LETTER = re.compile(r"^\(?([A-Za-z])\)?[.:)]?$")
_YES = {"yes": "yes", "true": "yes", "1": "yes", "no": "no", "false": "no", "0": "no"}


def normalise_task(name: str) -> str:
    """`Multiple Choice` and `multiple-choice` to `multiple_choice`."""
    return re.sub(r"[\s\-_]+", "_", name.strip().lower()).strip("_")


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
        found = {str(k).strip().upper(): v for k, v in options.items() if v is not None}
    elif isinstance(options, Sequence) and not isinstance(options, (str, bytes)):
        values = [_plain(v) for v in options]
        letters = [chr(ord("A") + i) for i in range(len(values))]
        marked = [_OPTION.match(v) for v in values]
        if values and all(m and m[1] == letter for m, letter in zip(marked, letters)):
            values = [m[2] for m in marked if m]
        found = dict(zip(letters, values))
    else:
        raise ValueError(f"options are a list or a mapping, not {type(options).__name__}")
    if len(found) > 26 or any(not re.fullmatch("[A-Z]", letter) for letter in found):
        raise ValueError(f"options need the letters A to Z, got {list(found)[:30]}")
    return {letter: _plain(value).strip() for letter, value in found.items()}


def shape_target(task: str, value: Any, options: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The target of `task` made from a dataset's answer.

    Args:
        task: a normalised task name; names without a shape of their own get `{"answer": text}`.
        value: the answer as text (perhaps in <answer> tags), number, list or mapping.
        options: options by letter, for multiple choice.

    Raises:
        ValueError: the answer does not fit the task.
    """
    if value is None:
        raise ValueError("the answer is empty")
    if isinstance(value, str):
        value = answer_text(value)
    if task in CHOICE:
        return _choice(value, options or {})
    for names, shape in SHAPES:
        if task in names:
            return shape(value)
    return {"answer": _text(value)}


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return str(value)
    raise ValueError(f"expected text, got {type(value).__name__}")


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else _plain(value).strip()
    if not text:
        raise ValueError("the answer is empty")
    return text


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r:.80} is not a number")
    try:
        if isinstance(value, str):
            top, slash, bottom = value.replace(",", "").strip().rstrip("%").partition("/")
            number = float(top) / float(bottom) if slash else float(top)
        else:
            number = float(value)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"{value!r:.80} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{value!r:.80} is not a finite number")
    return number


def _numbers(value: Any, count: int, what: str) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != count:
        raise ValueError(f"{value!r:.80} is not {what}")
    numbers = [_number(v) for v in value]
    return [int(n) if n == int(n) and isinstance(v, int) else n for n, v in zip(numbers, value)]


def _structure(value: Any) -> Any:
    """A list or mapping as it is; from text, the first JSON list or object in it."""
    if not isinstance(value, str):
        return value
    decoder = json.JSONDecoder()
    for start in islice(re.finditer(r"[\[{]", value), 100):
        try:
            return decoder.raw_decode(value, start.start())[0]
        except (ValueError, RecursionError):
            continue
    raise ValueError(f"{value!r:.80} holds no JSON list or object")


def _box(value: Any) -> list[float]:
    box = _numbers(value, 4, "a box [x1, y1, x2, y2]")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"box {box} needs x1 < x2 and y1 < y2")
    return box


def _boxes(value: Any) -> dict[str, Any]:
    value, label = _structure(value), None
    if isinstance(value, Mapping):
        label = value.get("label")
        found = [value[k] for k in ("box", "boxes", "bbox_2d", "bbox") if value.get(k) is not None]
        if not found:
            raise ValueError(f"no box among the keys {sorted(map(str, value))[:20]}")
        value = found[0]
    if isinstance(value, list) and value and all(isinstance(v, (list, Mapping)) for v in value):
        items = [_boxes(v) for v in value]
        if len(items) > 1:
            return {"boxes": [item["box"] for item in items if "box" in item]}
        return items[0]
    return {"box": _box(value)} | ({"label": str(label)} if label is not None else {})


def _objects(value: Any) -> dict[str, Any]:
    """Every object; VLM-R1 writes `None` where there is nothing to find."""
    value = [] if isinstance(value, str) and value.strip().lower() == "none" else _structure(value)
    if isinstance(value, Mapping):
        value = value["boxes"] if isinstance(value.get("boxes"), list) else [value]
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.80} is not a list of objects")
    return {"boxes": [_boxes(item) for item in value]}


def _interval(value: Any) -> dict[str, Any]:
    value = _structure(value)
    if isinstance(value, Mapping):
        value = value.get("time", value.get("interval"))
    interval = _numbers(value, 2, "an interval [start, end] in seconds")
    if interval[1] < interval[0]:
        raise ValueError(f"interval {interval} ends before it starts")
    return {"interval": interval}


def _frames(value: Any) -> dict[str, Any]:
    value = _structure(value)
    boxes = value.get("boxes") if isinstance(value, Mapping) else None
    if not isinstance(boxes, Mapping):
        raise ValueError("expected boxes by frame: {'boxes': {'0': [x1, y1, x2, y2], ...}}")
    return {"track": {str(frame): _box(box) for frame, box in boxes.items() if box is not None}}


def _tube(value: Any) -> dict[str, Any]:
    value = _structure(value)
    return {"time": _interval(value)["interval"], **_frames(value)}


def _order(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and not value.lstrip().startswith("["):
        value = [part for part in re.split(r"[\s,;>→-]+", value) if part]
    items = _structure(value)
    if not isinstance(items, Sequence) or len(items) < 2:
        raise ValueError(f"{value!r:.80} is not an order of at least 2 items")
    return {"order": [item if isinstance(item, int) else _plain(item) for item in items]}


def _count(value: Any) -> dict[str, Any]:
    number = _number(value)
    if number != int(number) or number < 0:
        raise ValueError(f"{value!r:.80} is not a count")
    return {"count": int(number)}


def _yes_no(value: Any) -> dict[str, Any]:
    word = _text(value).lower().rstrip(".")
    if word not in _YES:
        raise ValueError(f"{value!r:.80} is neither yes nor no")
    return {"answer": _YES[word]}


def _choice(value: Any, options: Mapping[str, str]) -> dict[str, Any]:
    text = _text(value)
    letter = _LETTER.match(text)
    marked = _OPTION.match(text)
    if letter and (not options or letter[1].upper() in options):
        answer = letter[1].upper()
    elif same := [k for k, v in options.items() if v and v.lower() == text.lower()]:
        answer = same[0]
    elif marked and (not options or marked[1] in options):
        answer = marked[1]
    else:
        raise ValueError(f"{text!r:.80} is none of the options {', '.join(options) or 'A to Z'}")
    return {"answer": answer} | ({"options": dict(options)} if options else {})


def _numeric(value: Any) -> dict[str, Any]:
    number = _number(value)
    return {"answer": int(number) if number == int(number) else number}


CHOICE = {"multiple_choice", "mcq", "mc", "multi_choice"}
SHAPES: tuple[tuple[set[str], Callable[[Any], dict[str, Any]]], ...] = (
    (
        {"grounding", "visual_grounding", "spatial_grounding", "iou", "rec", "referring_expression_comprehension"},
        _boxes,
    ),
    (
        {"detection", "object_detection", "det", "od", "od_ap", "od_ap50", "odlength", "map", "weighted_sum"},
        _objects,
    ),
    ({"temporal_grounding"}, _interval),
    ({"spatial_temporal_grounding"}, _tube),
    ({"tracking"}, _frames),
    ({"ordering", "jigsaw", "event_ordering", "temporal_ordering", "sorting", "frame_ordering"}, _order),
    ({"counting", "count", "object_counting"}, _count),
    ({"numeric", "numerical", "number", "regression"}, _numeric),
    ({"yes_no", "boolean", "binary_classification"}, _yes_no),
    ({"ocr", "text_recognition", "text_reading"}, lambda value: {"text": _text(value)}),
)
