"""Yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import normalize_label, strip_prefix
from vision_rewards.plain import Plain, text_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError

WORDS = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True, kw_only=True)
class YesNo(AnswerReward):
    """1 if the answer is the right one of yes and no."""

    name = "yes_no"
    summary = "Yes or no, nothing else."
    target_keys: ClassVar = {"answer": "bool, or str: yes, no, true, false"}
    formula = "[answer = target] over {yes, true} and {no, false}; the whole answer must be the word"
    source = "the binary tasks of EasyVideoR1 and VLM-R1"
    closes = (
        "the whole answer is the word: `notice` and `know` are not `no`, `Not sure, yes` is no answer",
        "an unreadable answer scores 0, also where the target is unreadable (which is refused)",
        "`yes and no` scores 0",
    )
    tasks = ("yes no", "boolean", "binary classification", "true false", "binary")
    plain = (Plain("yes, no, true, false, 1, 0, or a truth value", "yes"),)
    examples = (
        ({"answer": "yes"}, "<think>I see one.</think>Yes.", "the word, whatever its case"),
        ({"answer": False}, "I notice nothing", "`notice` holds `no`, and is not the word"),
        ({"answer": "no"}, "yes and no", "both"),
    )

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        text = text_of(answer)
        truth = {"1": True, "0": False}.get(text.rstrip("."), _truth(text))
        if truth is None:
            raise ValueError(f"{answer!r:.80} is neither yes nor no")
        return {"answer": "yes" if truth else "no"}

    def check_target(self, target):
        if _truth(target["answer"]) is None:
            raise TargetError(f"'answer' is {str(target['answer'])[:40]!r}, not yes, no, true or false")

    def gold_answer(self, target):
        return "yes" if _truth(target["answer"]) else "no"

    def score_answer(self, answer, target):
        said = _truth(strip_prefix(answer))
        if said is None:
            return self.failed("unparsable")
        return RewardResult(float(said == _truth(target["answer"])), {}, said, "ok")


def _truth(answer) -> bool | None:
    if isinstance(answer, bool):
        return answer
    return WORDS.get(normalize_label(answer)) if isinstance(answer, str) else None
