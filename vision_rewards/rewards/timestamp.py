"""One moment in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from vision_rewards.parsers import MAX_TIME, format_time, parse_timestamp, round_time
from vision_rewards.plain import Plain, moment_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, is_number, param


@dataclass(frozen=True, kw_only=True)
class Timestamp(AnswerReward):
    """1 if the one moment of the answer lies within the tolerance."""

    name = "timestamp"
    summary = "One moment, within a tolerance in seconds."
    target_keys: ClassVar = {"timestamp": "seconds, or a timestamp as str (`00:12`)"}
    formula = (
        "d = |t − t*| in seconds, t the only moment in the answer. within: [d ≤ tolerance]; linear: "
        "max(0, 1 − d / tolerance)"
    )
    source = "accuracy at a tolerance, as in action spotting (SoccerNet, Giancola et al. 2018)"
    closes = (
        "several moments score 0",
        "a per cent, a frame number, 12:75 and −3 are refused rather than misread",
    )
    tasks = ("timestamp", "temporal localization", "action spotting")
    plain = (Plain("the moment, in seconds or as timestamp", "01:12"),)
    part_defaults: ClassVar = {"within": 0.0, "error": None}
    metric_part = "within"
    examples = (
        ({"timestamp": 72.5}, "At 1 min 12.5 s", "the same moment"),
        ({"timestamp": 72.5}, "01:13", "half a second off"),
        ({"timestamp": 72.5}, "between 01:10 and 01:15", "two moments"),
        ({"timestamp": 72.5}, "01:13", "1 − 0.5 / 2", {"grade": "linear", "tolerance": 2.0}),
    )

    tolerance: float = param(1.0, "accepted error in seconds", low=1e-6)
    grade: str = param("within", "`linear` falls from 1 to 0 over the tolerance", choices=("within", "linear"))

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return {"timestamp": moment_of(answer)}

    def check_target(self, target):
        if _seconds(target["timestamp"]) is None:
            raise TargetError(f"'timestamp' is {str(target['timestamp'])[:40]!r}, not seconds in [0, {MAX_TIME:.0f}]")

    def gold_answer(self, target):
        return format_time(_seconds(target["timestamp"]))

    def score_answer(self, answer, target):
        moment, reason = parse_timestamp(answer)
        if moment is None:
            return self.failed(reason)
        error = abs(moment - _seconds(target["timestamp"]))
        within = float(error <= self.tolerance)
        score = within if self.grade == "within" else max(0.0, 1.0 - error / self.tolerance)
        return RewardResult(score, {"within": within, "error": error}, moment, "ok")


def _seconds(value: Any) -> float | None:
    if isinstance(value, str):
        return parse_timestamp(value[:100])[0]
    return round_time(value) if is_number(value) and 0 <= value <= MAX_TIME else None
