"""A number, graded by its relative error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.rewards.numeric import NumberReward
from vision_rewards.types import RewardResult, param


@dataclass(frozen=True, kw_only=True)
class Regression(NumberReward):
    """Mean relative accuracy of the one number of the answer."""

    name = "regression"
    summary = "One number, graded by its error relative to the target."
    formula = (
        "e = |x − y| / |y|, x the only number in the answer, y the target. mra: mean over θ = 0.50, 0.55, …, 0.95 of "
        "[e < 1 − θ]; relative: max(0, 1 − e). Exact arithmetic; a target of 0 must be met exactly"
    )
    source = (
        "mra: VSI-Bench (Yang et al. 2024), with the paper's strict inequality (its code has ≤) and EasyVideoR1's "
        "`regression`; relative: Video-R1"
    )
    closes = (
        "several numbers score 0",
        "an error of just 5 % is not below 1 − 0.95, as it is in floats",
        "the sign counts: −5 for 5 is an error of 2",
        "`5 million`, fractions, NaN and infinity are refused rather than misread",
    )
    tasks = ("regression", "mra", "distance estimation", "size estimation")
    part_defaults: ClassVar = {"mra": 0.0, "relative": 0.0}
    metric_part = "mra"
    examples = (
        ({"answer": 100}, "About 100 cm", "no error"),
        ({"answer": 100}, "80", "an error of 0.2 passes six thresholds of ten"),
        ({"answer": 100}, "80 or 100", "several numbers"),
        ({"answer": 100}, "80", "1 − 0.2", {"metric": "relative"}),
    )

    metric: str = param("mra", "which measure is the score", choices=("mra", "relative"))

    def score_answer(self, answer, target):
        value, reason = self.read(answer, target)
        if value is None:
            return self.failed(reason)
        expected = self.expected(target)
        parts = {
            "mra": metrics.mean_relative_accuracy(value, expected),
            "relative": metrics.relative_accuracy(value, expected),
        }
        return RewardResult(parts[self.metric], parts, float(value), "ok")
