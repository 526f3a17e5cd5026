"""Similarity of read text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import MAX_ANSWER, collapse_spaces
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param


@dataclass(frozen=True, kw_only=True)
class Ocr(AnswerReward):
    """How much of a text was read right, by edit distance."""

    name = "ocr"
    summary = "Edit-distance similarity of a transcription."
    target_keys: ClassVar = {"text": "str: the transcription"}
    formula = (
        "a, b: answer and text in NFC with runs of white space collapsed, d = Levenshtein(a, b). "
        "edit: 1 − d / max(|a|, |b|); cer: max(0, 1 − d / |b|); exact: [a = b]; "
        "anls: case folded, s = 1 − d / max(|a|, |b|), 0 unless d / max(|a|, |b|) < 0.5"
    )
    source = "edit: OmniDocBench's text metric; anls: Biten et al. 2019, with the paper's strict threshold"
    closes = (
        "the denominator uses the normalised strings: padding with blanks gains nothing",
        "an empty answer scores 0, and a target without visible text is refused",
        "extra text, repetition included, counts as edits: dumping all plausible text loses",
    )
    tasks = ("ocr", "text recognition", "text reading")
    part_defaults: ClassVar = {"exact": 0.0, "similarity": 0.0}
    metric_part = "exact"

    metric: str = param("edit", "which measure is the score", choices=("edit", "cer", "exact", "anls"))
    ignore_case: bool = param(False, "fold case before comparing; `anls` always does")

    def check_target(self, target):
        text = target["text"]
        if not isinstance(text, str) or not any(c.isprintable() and not c.isspace() for c in text):
            raise TargetError(f"'text' is {str(text)[:60]!r}, not a str with visible characters")
        if len(text) > MAX_ANSWER:
            raise TargetError(f"'text' has {len(text)} characters; at most {MAX_ANSWER} can be scored")

    def _normalize(self, text: str) -> str:
        text = collapse_spaces(text)
        return text.lower() if self.ignore_case or self.metric == "anls" else text

    def gold_answer(self, target):
        return target["text"]

    def score_answer(self, answer, target):
        read, text = self._normalize(answer), self._normalize(target["text"])
        exact = float(read == text)
        similarity = metrics.normalized_edit_similarity(read, text)
        score = {
            "edit": lambda: similarity,
            "cer": lambda: max(0.0, 1.0 - metrics.character_error_rate(read, text)),
            "exact": lambda: exact,
            "anls": lambda: metrics.anls(read, [text]),
        }[self.metric]()
        return RewardResult(score, {"exact": exact, "similarity": similarity}, read, "ok")
