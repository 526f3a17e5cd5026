"""Answers scored as other suites do, their faults included, for the sets whose scoring asks no judge and draws nothing.

Each was compared with the suite's own scores of invented answers: lmms-eval 0.7.3 and VLMEvalKit (August 2026) without
a judge, where an answer that no rule reads is wrong. Not for rewards: they can be gamed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.evaluation.suite import scorers_choice as choice
from mmrl.evaluation.suite import scorers_places as places
from mmrl.evaluation.suite.scorers_choice import without_thoughts
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
_LETTER = re.compile(r"[A-Z]\.")
_RELAXED = 0.05
_NARROW = {0xFEE0 + code: code for code in range(0x21, 0x7F)} | {0x3000: 0x20}
_UNPUNCTUATED = str.maketrans("", "", string.punctuation)


def _choice(text: str, sample: Sample) -> float:
    letters = "".join(sample.target.get("options") or "ABCD")
    return float(parse_choice_lmms_eval(without_thoughts(text), letters) == sample.target["answer"])


def _letter_at_start(text: str, sample: Sample) -> float:
    # AI2D: one with a full stop at the beginning, or the letter alone, of either case, without punctuation.
    said = without_thoughts(text)
    letter = said[0] if _LETTER.match(said) else said
    return float(letter.translate(_UNPUNCTUATED).lower() == sample.target["answer"].lower())


def _whole_answer(text: str, sample: Sample) -> float:
    # MMMU-Pro's pictures of questions: the letter and nothing else.
    return float(without_thoughts(text) == sample.target["answer"])


def _choice_vlmevalkit(text: str, sample: Sample) -> float:
    return float(parse_choice_vlmevalkit(text, sample.target.get("options") or {}) == sample.target["answer"])


def _choice_videomme(text: str, sample: Sample) -> float:
    return float(parse_choice_videomme(text) == sample.target["answer"])


def _relaxed(text: str, sample: Sample) -> float:
    said, right = text.strip(), str(sample.target["answer"])
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
    return metrics.anls_lmms_eval(text, sample.target["text"])


def _vqa(text: str, sample: Sample) -> float:
    return metrics.vqa_accuracy(without_thoughts(text), sample.target["answers"], evalai=True)


def _part_of(text: str, sample: Sample) -> float:
    formulas = bool(sample.columns.get("formulas"))
    return metrics.ocrbench_accuracy(text, sample.target["text"], formulas=formulas)


def _part_of_folded(text: str, sample: Sample) -> float:
    # lmms-eval's OCRBench: forms of full width are those of ASCII, except in formulas.
    if sample.columns.get("formulas"):
        return _part_of(without_thoughts(text), sample)
    accepted = [accepted.translate(_NARROW) for accepted in sample.target["text"]]
    return metrics.ocrbench_accuracy(without_thoughts(text).translate(_NARROW), accepted)


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


def _without_thoughts(scorer: Scorer, text: str, sample: Sample) -> float:
    return scorer(without_thoughts(text), sample)


_EITHER: Mapping[str, Scorer] = {
    "chartqa": _relaxed,
    "docvqa": _anls,
    "infovqa": _anls,
    "ocrbench": _part_of,
}
REFCOCO = (
    *("refcoco_val", "refcoco_testA", "refcoco_testB", "refcoco+_val", "refcoco+_testA", "refcoco+_testB"),
    *("refcocog_val", "refcocog_test"),
)
# Benchmark -> columns that its rules read in every row; EasyVideoR1's rows lack some of them.
ROW_COLUMNS: Mapping[str, Sequence[str]] = {
    "charades_sta": ("timestamp",),
    "tempcompass": ("answer", "question"),
    "vsibench": ("ground_truth", "question_type"),
}
# Benchmarks whose rules read the row's own right option.
OPTIONS_OF_ROW = ("tempcompass", "vsibench")
# Suite -> benchmark -> what scores it.
SCORERS: Mapping[str, Mapping[str, Scorer]] = {
    "lmms-eval": {
        **{name: partial(_without_thoughts, scorer) for name, scorer in _EITHER.items()},
        "ocrbench": _part_of_folded,
        "ai2d": _letter_at_start,
        "charades_sta": places.charades_sta,
        "longvideobench": choice.first_letter,
        "mathvista": choice.mathvista,
        "mmbench_en": choice.mmbench,
        "mmmu": choice.mmmu,
        "mmmu_pro": choice.mmmu,
        "mmmu_pro_vision": _whole_answer,
        "mmstar": _choice,
        "mvbench": choice.mvbench,
        "pope": _exact_yes_no,
        **dict.fromkeys(REFCOCO, places.refcoco),
        "screenspot": _centre_in_box,
        "tempcompass": choice.tempcompass,
        "textvqa": _vqa,
        "videomme": _choice,
        "vsibench": places.vsibench,
    },
    "vlmevalkit": {
        **_EITHER,
        "ai2d": _choice_vlmevalkit,
        "longvideobench": choice.first_letter_vlmevalkit,
        "mathvista": choice.mathvista_vlmevalkit,
        "mmbench_en": _choice_vlmevalkit,
        "mmmu": choice.mmmu_vlmevalkit,
        "mmmu_pro": _choice_vlmevalkit,
        "mmmu_pro_vision": _choice_vlmevalkit,
        "mvbench": choice.mvbench_vlmevalkit,
        "pope": _yes_no_vlmevalkit,
        **dict.fromkeys(REFCOCO, places.refcoco_vlmevalkit),
        "tempcompass": choice.tempcompass_vlmevalkit,
        "screenspot": _click_in_box,
        "videomme": _choice_videomme,
    },
}


def check_rows(name: str, suite: str, rows: Sequence[Sample], count: int) -> None:
    """Raises UserError where one of the first rows lacks a column that a suite's rules for its benchmark read."""
    needed = ROW_COLUMNS.get(name, ()) if name in SCORERS.get(suite, {}) else ()
    for i in range(count if needed else 0):
        sample = rows[i]
        lacking = next((column for column in needed if sample.columns.get(column) is None), None)
        if lacking is not None:
            raise UserError(
                f"benchmark '{name}': {sample.where}: the rules of {suite} read column '{lacking}', which it lacks; "
                "the set's own rows have it"
            )
