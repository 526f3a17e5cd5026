"""Exact count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import parse_number
from vision_rewards.types import AnswerReward, RewardResult, TargetError

MAX_COUNT = 10**15


@dataclass(frozen=True, kw_only=True)
class Counting(AnswerReward):
    """1 if the one number of the answer is the count."""

    name = "counting"
    summary = "Exact match of a count."
    target_keys: ClassVar = {"count": "int ≥ 0"}
    formula = "[n = count], n the only number in the answer, in digits or as a word from zero to twenty"
    source = "exact-match counting; PixMo-Count's accuracy, without its first-integer rule"
    closes = (
        "several numbers score 0: neither enumerating nor `2 rows of 5` earns anything",
        "whole numbers are compared, never their digits: 30 does not contain 3",
        "`one hundred`, `3rd`, `3k` and `1.5` are not read as 1, 3, 3 and 1",
    )
    tasks = ("counting", "count", "object counting")
    part_defaults: ClassVar = {"closeness": 0.0}

    def check_target(self, target):
        count = target["count"]
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_COUNT:
            raise TargetError(f"'count' is {str(count)[:40]!r}, not an int in [0, {MAX_COUNT}]")

    def gold_answer(self, target):
        return str(target["count"])

    def score_answer(self, answer, target):
        value, reason = parse_number(answer)
        if value is None:
            return self.failed(reason)
        if abs(value) > MAX_COUNT or value != int(value):
            return self.failed("unparsable")
        number = int(value)
        error = abs(number - target["count"])
        return RewardResult(float(error == 0), {"closeness": 1.0 / (1.0 + error)}, number, "ok")
