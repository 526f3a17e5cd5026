"""Boxes, times and numbers scored as other suites do, their faults included; see `scorers`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmrl.contracts.types import Sample
from mmrl.data.media import load_image
from mmrl.evaluation.suite.scorers_choice import without_thoughts
from vision_rewards.parsers import parse_box_lmms_eval

_BOX_AT = 0.5
_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"
_GAP = r"(?:\s*,\s*|\s+)"
_BOX = re.compile(rf"\[\s*({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER})\s*\]")
_EXAMPLE = "a specific example is : 20.8 - 30.0 seconds"
_TIMED = ("starts", "ends", "happens in", "start time", "end time", "start", "end", "happen")
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?"
_CLOCKS = re.compile(rf"\b({_CLOCK})\s*[–-]\s*({_CLOCK})\b")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*[–-]\s*(\d+(?:\.\d+)?)")
_UNITED = re.compile(r"(\d+(?:\.\d+)?)\s*s?\s*[–-]\s*(\d+(?:\.\d+)?)\s*s?")
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {word: number for number, word in enumerate(_ONES)} | {word: 10 * ten for ten, word in enumerate(_TENS, 3)}
_SCALES = {"hundred": 100, "thousand": 1000}
# Relative errors that still count, ten of them; VSI-Bench's 0.5, 0.55, … 0.95 from 1.
_MRA = tuple(0.5 + 0.05 * step for step in range(10))
_MRA_TASKS = ("object_counting", "object_size_estimation", "object_abs_distance", "room_size_estimation")


def _size(sample: Sample) -> tuple[float, float]:
    columns = sample.columns
    if "image_width" in columns:
        return float(columns["image_width"]), float(columns["image_height"])
    picture = load_image(sample.images[0], sample.root, sample.where)
    return float(picture.width), float(picture.height)


def _shares(sample: Sample) -> list[float]:
    """The right box in shares of the picture; the hub's rows have x, y, width and height in pixels."""
    width, height = _size(sample)
    box = sample.columns.get("bbox_abs")
    if box is None:
        x, y, w, h = sample.columns["bbox"]
        box = [x, y, x + w, y + h]
    return [side / whole for side, whole in zip(box, (width, height, width, height))]


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    overlap = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union else 0.0


def refcoco(text: str, sample: Sample) -> float:
    """lmms-eval's ACC@0.5: the first `[a, b, c, d]`, in shares of the picture, whatever it is written in."""
    return float(_iou(_shares(sample), parse_box_lmms_eval(without_thoughts(text))) >= _BOX_AT)


def refcoco_vlmevalkit(text: str, sample: Sample) -> float:
    """VLMEvalKit's: up to 1.5 shares, up to 1000 thousandths, above pixels; pixels of small pictures are misread."""
    match = _BOX.search(text)
    numbers = list(match.groups()) if match else re.findall(_NUMBER, text)[:4]
    if len(numbers) < 4:
        return 0.0
    width, height = _size(sample)
    wholes = (width, height, width, height)
    box = [float(number) for number in numbers]
    largest = max(map(abs, box))
    unit = 1.0 if largest <= 1.5 else 1000.0 if largest <= 1000 else 0.0
    box = [side / unit * whole for side, whole in zip(box, wholes)] if unit else box
    x1, y1, x2, y2 = (min(max(side, 0.0), whole) for side, whole in zip(box, wholes))
    box = [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]
    right = [share * whole for share, whole in zip(_shares(sample), wholes)]
    right = list(sample.columns.get("bbox_abs") or right)
    return float(_iou(box, right) >= _BOX_AT)


def charades_sta(text: str, sample: Sample) -> float:
    """lmms-eval's IoU of the one interval that it reads; ends that are swapped are put right."""
    times = _times(without_thoughts(text))
    if times is None:
        return 0.0
    (a, b), (c, d) = sorted(times), sample.columns["timestamp"]
    whole = max(b, d) - min(a, c)
    return max(0.0, min(b, d) - max(a, c)) / whole if whole > 0 else 0.0


def _times(text: str) -> tuple[float, float] | None:
    sentences = re.split(r"[!?\n]", text.lower().replace(_EXAMPLE, "").replace("to", "-"))
    timed = [sentence for sentence in sentences if any(word in sentence for word in _TIMED)] or sentences
    for pattern in (_CLOCKS, _SECONDS):
        for sentence in timed:
            if match := pattern.search(sentence):
                return _seconds(match[1]), _seconds(match[2])
    clocks = [clock for sentence in timed for clock in re.findall(rf"\b({_CLOCK})\b", sentence)]
    if len(clocks) >= 2:
        return _seconds(clocks[0]), _seconds(clocks[1])
    firsts = [match[1] for sentence in timed if (match := re.search(r"\b(\d+(?:\.\d+)?)\b", sentence))]
    if len(firsts) >= 2:
        return float(firsts[0]), float(firsts[1])
    united = next(filter(None, map(_UNITED.search, timed)), None)
    return (float(united[1]), float(united[2])) if united else None


def _seconds(written: str) -> float:
    seconds = 0.0
    for part in written.split(":"):
        seconds = 60.0 * seconds + float(part)
    return seconds


def vsibench(text: str, sample: Sample) -> float:
    """lmms-eval's: the first word of a choice; of a number the first one, and ten thresholds of its relative error."""
    said, right = without_thoughts(text), str(sample.columns["ground_truth"])
    if sample.columns["question_type"] not in _MRA_TASKS:
        return float(said.split(" ")[0].rstrip(".").strip().lower() == right.lower())
    number = _first_number(said)
    if number is None:
        return 0.0
    error = abs(number - float(right)) / float(right)
    return sum(error <= 1.0 - least for least in _MRA) / len(_MRA)


def _first_number(text: str) -> float | None:
    """The first number, in digits or in words."""
    text = text.lower()
    digits = re.search(r"-?\d+(?:\.\d+)?", text)
    words = [match for match in re.finditer("[a-z]+", text) if match[0] in _WORDS or match[0] in _SCALES]
    if digits and (not words or digits.start() < words[0].start()):
        return float(digits[0])
    return _number_in_words(re.findall("[a-z]+", text[words[0].start() :])) if words else None


def _number_in_words(words: Sequence[str]) -> float:
    total, current = 0, 0
    for word in words:
        if word == "and":
            continue
        if word == "thousand":
            total, current = total + max(current, 1) * 1000, 0
        elif word == "hundred":
            current = max(current, 1) * 100
        elif word in _WORDS:
            current += _WORDS[word]
        else:
            break
    return float(total + current)
