"""Yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import TRUTH_WORDS, normalize_label, parse_yes_no
from vision_rewards.plain import Plain, text_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError


@dataclass(frozen=True, kw_only=True)
class YesNo(AnswerReward):
    """1 if the answer is the right one of yes and no."""

    name = "yes_no"
    summary = "Yes or no, alone or at the start of a sentence that says nothing else."
    target_keys: ClassVar = {"answer": "bool, or str: yes, no, true, false"}
    formula = (
        "[answer = target] over {yes, true} and {no, false}; the answer is the word, or begins with it, a mark and a "
        "sentence that neither takes it back nor leaves it open"
    )
    source = "the binary tasks of EasyVideoR1 and VLM-R1"
    closes = (
        "the word stands alone or first: `notice` and `know` are not `no`, `Not sure, yes` is no answer",
        "`Yes, I think so`, `Yes, but …` and `Yes, there is no …` are no answers",
        "an unreadable answer scores 0, also where the target is unreadable (which is refused)",
        "`yes and no` scores 0",
    )
    tasks = ("yes no", "boolean", "binary classification", "true false", "binary")
    plain = (Plain("yes, no, true, false, 1, 0, or a truth value", "yes"),)
    examples = (
        ({"answer": "yes"}, "<think>I see one.</think>Yes.", "the word, whatever its case"),
        ({"answer": True}, "Yes, there is a cat.", "the word and a sentence that agrees"),
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
        answered, reason = parse_yes_no(answer)
        if answered is None:
            return self.failed(reason)
        return RewardResult(float(answered == _truth(target["answer"])), {}, answered, "ok")


def _truth(answer) -> bool | None:
    if isinstance(answer, bool):
        return answer
    return TRUTH_WORDS.get(normalize_label(answer)) if isinstance(answer, str) else None
