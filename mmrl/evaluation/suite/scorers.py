"""Answers scored as other suites do, their faults included, for the sets whose scoring asks no judge and draws nothing.

Each was compared with the suite's own scores of invented answers: lmms-eval 0.7.3 and VLMEvalKit (August 2026) without
a judge, where an answer that no rule reads is wrong. Not for rewards: they can be gamed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mmrl.contracts.types import Sample
from vision_rewards import metrics
from vision_rewards.parsers import (
    parse_box_lmms_eval,
    parse_choice_lmms_eval,
    parse_choice_videomme,
    parse_choice_vlmevalkit,
    parse_point_vlmevalkit,
    parse_yes_no_vlmevalkit,
)

Scorer = Callable[[str, Sample], float]
_THOUGHT = re.compile(r"<think>.*?</think>|<analysis>.*?</analysis>", re.DOTALL)
_LETTER = re.compile(r"[A-Z]\.")
_RELAXED = 0.05


def without_thoughts(text: str) -> str:
    """The answer as lmms-eval hands it to its tasks: no thinking, also where only its end is marked."""
    return _THOUGHT.sub("", text).rpartition("</think>")[2].strip()


def _choice(text: str, sample: Sample) -> float:
    letters = "".join(sample.target.get("options") or "ABCD")
    return float(parse_choice_lmms_eval(without_thoughts(text), letters) == sample.target["answer"])


def _letter_at_start(text: str, sample: Sample) -> float:
    # AI2D: the letter alone, or one with a full stop at the beginning.
    said = without_thoughts(text)
    return float((said[0] if _LETTER.match(said) else said) == sample.target["answer"])


def _choice_vlmevalkit(text: str, sample: Sample) -> float:
    return float(parse_choice_vlmevalkit(text, sample.target.get("options") or {}) == sample.target["answer"])


def _choice_videomme(text: str, sample: Sample) -> float:
    return float(parse_choice_videomme(without_thoughts(text)) == sample.target["answer"])


def _relaxed(text: str, sample: Sample) -> float:
    said, right = without_thoughts(text), str(sample.target["answer"])
    number, expected = _number(said), _number(right)
    if number is not None and expected:
        return float(abs(number - expected) / abs(expected) <= _RELAXED)
    return float(said.lower() == right.lower())


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _anls(text: str, sample: Sample) -> float:
    return metrics.anls_lmms_eval(without_thoughts(text), sample.target["text"])


def _vqa(text: str, sample: Sample) -> float:
    return metrics.vqa_accuracy(without_thoughts(text), sample.target["answers"], evalai=True)


def _part_of(text: str, sample: Sample) -> float:
    formulas = bool(sample.columns.get("formulas"))
    return metrics.ocrbench_accuracy(without_thoughts(text), sample.target["text"], formulas=formulas)


def _yes_or_no(sample: Sample) -> str:
    answer: Any = sample.target["answer"]
    return answer.lower() if isinstance(answer, str) else ("yes" if answer else "no")


def _exact_yes_no(text: str, sample: Sample) -> float:
    return float(without_thoughts(text).lower() == _yes_or_no(sample))


def _yes_no_vlmevalkit(text: str, sample: Sample) -> float:
    return float(parse_yes_no_vlmevalkit(text).lower() == _yes_or_no(sample))


def _centre_in_box(text: str, sample: Sample) -> float:
    # ScreenSpot: the target is in shares of the picture, and so is the answer, or in thousandths.
    left, top, right, bottom = (
        side / 1000.0 if max(box) > 1.0 else side
        for box in [parse_box_lmms_eval(without_thoughts(text))]
        for side in box
    )
    return _inside((left + right) / 2.0, (top + bottom) / 2.0, sample)


def _click_in_box(text: str, sample: Sample) -> float:
    return _inside(*parse_point_vlmevalkit(text), sample)


def _inside(x: float, y: float, sample: Sample) -> float:
    left, top, right, bottom = sample.columns["bbox"]
    return float(left <= x <= right and top <= y <= bottom)


_EITHER: Mapping[str, Scorer] = {
    "chartqa": _relaxed,
    "docvqa": _anls,
    "infovqa": _anls,
    "ocrbench": _part_of,
}
# Suite -> benchmark -> what scores it.
SCORERS: Mapping[str, Mapping[str, Scorer]] = {
    "lmms-eval": {
        **_EITHER,
        "ai2d": _letter_at_start,
        "mmstar": _choice,
        "pope": _exact_yes_no,
        "screenspot": _centre_in_box,
        "textvqa": _vqa,
        "videomme": _choice,
    },
    "vlmevalkit": {
        **_EITHER,
        "ai2d": _choice_vlmevalkit,
        "mmmu_pro": _choice_vlmevalkit,
        "pope": _yes_no_vlmevalkit,
        "screenspot": _click_in_box,
        "videomme": _choice_videomme,
    },
}
