"""A number within a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from vision_rewards.parsers import parse_number
from vision_rewards.types import AnswerReward, RewardResult, TargetError, is_number, param

MAX_MAGNITUDE = Decimal("1e100")


@dataclass(frozen=True, kw_only=True)
class Numeric(AnswerReward):
    """1 if the one number of the answer lies within the tolerance."""

    name = "numeric"
    summary = "One number, within an absolute or relative tolerance."
    target_keys: ClassVar = {"answer": "int, float, or str that holds one number"}
    formula = "[|x − y| ≤ max(abs, rel · |y|)], x the only number in the answer, y the target; decimal arithmetic"
    source = "ChartQA's relaxed accuracy (rel = 0.05), relative to the target, with 0 by default"
    closes = (
        "several numbers score 0",
        "no tolerance unless asked for: with 5 % the year 2014 passes for 2019",
        "NaN, infinity, `5 million` and fractions are refused rather than misread",
    )
    tasks = ("numeric", "numerical", "number", "regression")
    part_defaults: ClassVar = {"closeness": 0.0}

    abs: float = param(0.0, "accepted absolute error, in the target's unit", low=0)
    rel: float = param(0.0, "accepted error relative to the target's magnitude", low=0, high=1)

    def check_target(self, target):
        if _target_value(target["answer"]) is None:
            raise TargetError(f"'answer' is {str(target['answer'])[:60]!r}, not a number or a str that holds one")

    def gold_answer(self, target):
        return str(target["answer"])

    def score_answer(self, answer, target):
        value, reason = parse_number(answer, percent=True)
        if value is None:
            return self.failed(reason)
        if value.copy_abs() > MAX_MAGNITUDE:
            return self.failed("unparsable")
        expected = _target_value(target["answer"])
        error = (value - expected).copy_abs()
        allowed = max(Decimal(repr(self.abs)), Decimal(repr(self.rel)) * expected.copy_abs())
        return RewardResult(float(error <= allowed), {"closeness": 1.0 / (1.0 + float(error))}, float(value), "ok")


def _target_value(answer) -> Decimal | None:
    """The target as a number, None if it is not one. A percent sign is read as in answers: 50% is 50."""
    if not is_number(answer) and not isinstance(answer, str):
        return None
    value, _ = parse_number(str(answer)[:1000], percent=True)
    return value if value is not None and value.copy_abs() <= MAX_MAGNITUDE else None
