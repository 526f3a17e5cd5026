"""Exact match of a class name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import normalize_label
from vision_rewards.types import AnswerReward, RewardResult, TargetError


def _is_label(value) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(normalize_label(str(value)))


@dataclass(frozen=True, kw_only=True)
class Classification(AnswerReward):
    """1 if the normalised answer equals the class or one of its synonyms."""

    name = "classification"
    summary = "Exact match of a class name after folding case, white space and punctuation."
    target_keys: ClassVar = {"answer": "str or int: the class", "synonyms?": "list of str or int: other accepted names"}
    formula = "[norm(answer) ∈ {norm(y) : y ∈ {answer} ∪ synonyms}]"
    source = "Visual-RFT's classification reward, without its substring test"
    closes = (
        "an empty answer is no match (a substring test scores it 1)",
        "listing classes, or a sentence that contains the class, is no match",
    )
    tasks = ("classification", "image classification", "ic", "cls")

    def check_target(self, target):
        synonyms = target.get("synonyms") or []
        if not _is_label(target["answer"]):
            raise TargetError(f"'answer' is {target['answer']!r}, not a non-empty str or an int")
        if not isinstance(synonyms, (list, tuple)) or not all(map(_is_label, synonyms)):
            raise TargetError(f"'synonyms' is {synonyms!r}, not a list of non-empty str or int")

    def gold_answer(self, target):
        return str(target["answer"])

    def score_answer(self, answer, target):
        label = normalize_label(answer)
        if not label:
            return self.failed("no_answer")
        accepted = {normalize_label(str(name)) for name in (target["answer"], *(target.get("synonyms") or ()))}
        return RewardResult(float(label in accepted), {}, label, "ok")
