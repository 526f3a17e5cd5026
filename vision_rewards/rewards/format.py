"""The form of a completion: its tags."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import MAX_COMPLETION
from vision_rewards.types import Reward, RewardResult, param

_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE | re.ASCII)
_ANSWER = ["<answer>", "</answer>"]
_THINK = ["<think>", "</think>"]


@dataclass(frozen=True, kw_only=True)
class Format(Reward):
    """1 if the completion has the asked-for tags, once each, in order and with text inside."""

    name = "format"
    summary = "Tags of thinking and answer; says nothing about the answer."
    target_keys: ClassVar = {}
    formula = (
        "answer: one non-empty `<answer>…</answer>` ends the completion, `<think>…</think>` may precede it; "
        "think_answer: `<think>…</think><answer>…</answer>` and nothing else, both non-empty; "
        "none: some text and none of these tags"
    )
    source = "the format rewards of DeepSeek-R1's followers (Visual-RFT: full match)"
    closes = ("repeated or nested tags score 0", "empty tags score 0", "text after the answer scores 0")
    is_answer = False

    pattern: str = param("answer", "the demanded form", choices=("answer", "think_answer", "none"))

    def check_target(self, target):
        return

    def dress(self, completion):
        """Add the tags that are missing; text that has an `<answer>` keeps it."""
        if self.pattern == "none":
            return completion
        if "<answer>" not in completion:
            completion = f"<answer>{completion}</answer>"
        if self.pattern == "think_answer" and "<think>" not in completion:
            completion = f"<think>I look at it.</think>{completion}"
        return completion

    def gold(self, target):
        return self.dress("answer")

    def score(self, completion, target):
        if not completion.strip() or len(completion) > MAX_COMPLETION:
            return self.failed("no_answer" if not completion.strip() else "too_long")
        matched = self._matches(completion)
        return RewardResult(float(matched), {}, None, "ok" if matched else "wrong_format")

    def _matches(self, completion: str) -> bool:
        tags = [match.group() for match in _TAG.finditer(completion)]
        texts = [text.strip() for text in _TAG.split(completion)]
        if self.pattern == "none":
            return not tags
        if self.pattern == "answer" and tags == _ANSWER:
            return bool(texts[1]) and not texts[2]
        if tags != _THINK + _ANSWER or not texts[3] or texts[4]:
            return False
        return self.pattern == "answer" or (bool(texts[1]) and not texts[0] and not texts[2])
