"""A count."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from vision_rewards.parsers import bare, parse_number, says_none
from vision_rewards.plain import Plain, number_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

MAX_COUNT = 10**15


@dataclass(frozen=True, kw_only=True)
class Counting(AnswerReward):
    """1 if the one number of the answer is the count, or a published measure of how near it is."""

    name = "counting"
    summary = "A count: exact, within one, or by relative error."
    target_keys: ClassVar = {"count": "int ≥ 0"}
    formula = (
        "n the only number in the answer, in digits or words to ninety-nine, 0 for `none`. exact: [n = count]; "
        "off_by_one: [|n − count| ≤ 1]; relative: max(0, 1 − |n − count| / max(count, 1))"
    )
    source = (
        "exact-match counting, PixMo-Count's accuracy without its first-integer rule; off_by_one: OBOA of repetition "
        "counting (RepNet, Dwibedi et al. 2020); relative: Video-R1's regression reward"
    )
    closes = (
        "several numbers score 0: neither enumerating nor `2 rows of 5` earns anything",
        "whole numbers are compared, never their digits: 30 does not contain 3",
        "`one hundred`, `3rd`, `3k`, `3 doz`, `not 3`, `more than 3` and `1.5` are not read as 1, 3, 3, 3, 3, 3 and 1",
    )
    tasks = ("counting", "count", "object counting", "repetition counting")
    plain = (Plain("the count, as number or text", "3"),)
    part_defaults: ClassVar = {"exact": 0.0, "closeness": 0.0}
    metric_part = "exact"
    examples = (
        ({"count": 3}, "<think>two and one</think>There are three.", "the only number"),
        ({"count": 3}, "2 rows of 1, so 3", "several numbers"),
        ({"count": 10}, "9", "one off, by relative error", {"metric": "relative"}),
    )

    metric: str = param("exact", "which measure is the score", choices=("exact", "off_by_one", "relative"))

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        number = number_of(answer)
        if number != int(number) or number < 0:
            raise ValueError(f"{answer!r:.80} is not a count")
        return {"count": int(number)}

    def check_target(self, target):
        count = target["count"]
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_COUNT:
            raise TargetError(f"'count' is {str(count)[:40]!r}, not an int in [0, {MAX_COUNT}]")

    def gold_answer(self, target):
        return str(target["count"])

    def score_answer(self, answer, target):
        text = bare(answer)
        # None of the words for nothing starts with a digit.
        none = not text[:1].isdigit() and says_none(text)
        value, reason = (Decimal(0), "ok") if none else parse_number(text)
        if value is None:
            return self.failed(reason)
        if abs(value) > MAX_COUNT or value != int(value):
            return self.failed("unparsable")
        number, count = int(value), target["count"]
        error = abs(number - count)
        score = {
            "exact": float(error == 0),
            "off_by_one": float(error <= 1),
            "relative": max(0.0, 1.0 - error / max(count, 1)),
        }[self.metric]
        return RewardResult(score, {"exact": float(error == 0), "closeness": 1.0 / (1.0 + error)}, number, "ok")
