"""Overlap in time of an answer's interval, or intervals, with the target's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import (
    MAX_INTERVALS,
    format_time,
    is_time_span,
    parse_intervals,
    parse_timestamp,
    round_time,
)
from vision_rewards.plain import Plain, interval_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, is_number, param

_THRESHOLDS = (0.3, 0.5, 0.7)
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class TemporalIou(AnswerReward):
    """IoU of one interval, or of sets of intervals, in seconds."""

    name = "temporal_iou"
    summary = "Overlap of the answer's stretch of time with the target's, or of several with several."
    target_keys: ClassVar = {
        "interval": "[start, end], or a list of them; seconds, or timestamps as str (`00:12`)",
        "duration?": "seconds: length of the video; the answer is cut to [0, duration]",
    }
    formula = (
        "one target interval: iou |A ∩ B| / |A ∪ B|, or [IoU ≥ threshold] where a threshold is set; giou "
        "(1 + IoU − gap / hull) / 2; boundary IoU · (1 − |s − s*| / T) · (1 − |e − e*| / T), T the duration. Several: "
        "union IoU of the moments covered; match 2 Σ IoU / (answer's intervals + target's) over the best one-to-one "
        "matching"
    )
    source = (
        "temporal IoU of Charades-STA (Gao et al. 2017) and EasyVideoR1's `temporal grounding`; boundary: Time-R1's "
        "timestamp-aware IoU (Wang et al. 2025)"
    )
    closes = (
        "one interval where one is asked for: listing many and being scored on the best, or first, earns 0",
        "a reversed or empty interval scores 0; its ends are never swapped",
        "digits that belong to no interval make the answer unreadable; frame numbers and per cents are no seconds",
        "of several intervals, overlapping ones count once (union) or against the answer (match)",
    )
    tasks = (
        "temporal iou",
        "temporal grounding",
        "video temporal grounding",
        "temporal video grounding",
        "moment retrieval",
        "tvg",
    )
    plain = (Plain("the interval, or several, in seconds or as timestamps, as list, mapping or text", "[3, 5]"),)
    part_defaults: ClassVar = {"iou": 0.0, "iou@0.3": 0.0, "iou@0.5": 0.0, "iou@0.7": 0.0}
    metric_part = "iou@0.5"
    examples = (
        ({"interval": [10, 20]}, "<answer>from 00:10 to 00:20</answer>", "the same moments"),
        ({"interval": [10, 20]}, "[15, 25]", "5 s of 15"),
        ({"interval": [10, 20]}, "0-5, 10-20", "one was asked for"),
        ({"interval": [[0, 5], [10, 20]]}, "0-5, 10-15", "10 s of 15"),
        ({"interval": [0, 10], "duration": 40}, "[0, 20]", "1/2 · 1 · 3/4", {"kind": "boundary"}),
    )

    threshold: float | None = param(
        None, "score 1 from this IoU on (inclusive) and 0 below; none: the measure itself", low=0, high=1
    )
    kind: str = param(
        "iou",
        "for one interval: `giou` also grades intervals that do not touch; `boundary` weights by how near both ends "
        "are, and needs `duration`",
        choices=("iou", "giou", "boundary"),
    )
    several: str = param("union", "the measure where the target has several intervals", choices=("union", "match"))

    def __post_init__(self):
        super().__post_init__()
        if self.threshold == 0:
            raise ValueError("reward 'temporal_iou': parameter 'threshold': 0 would pass every interval")
        if self.threshold is not None and self.kind != "iou":
            raise ValueError("reward 'temporal_iou': parameter 'threshold' applies to kind='iou' only")

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return {"interval": interval_of(answer)}

    def check_target(self, target):
        spans, duration = _spans(target["interval"]), target.get("duration")
        if not spans or not all(is_time_span(*span) for span in spans):
            raise TargetError(f"'interval' is {str(target['interval'])[:80]}, not [start, end] with 0 ≤ start < end")
        if len(spans) > MAX_INTERVALS or metrics.merge_intervals(spans) != sorted(spans):
            raise TargetError(f"'interval' has over {MAX_INTERVALS} intervals, or some that touch")
        if duration is None and self.kind == "boundary":
            raise TargetError("'duration' is missing, and kind='boundary' needs it")
        if duration is not None and (not is_number(duration) or duration < max(end for _, end in spans)):
            raise TargetError(f"'duration' is {str(duration)[:40]}, not seconds that hold every interval")

    def gold_answer(self, target):
        return ", ".join(f"[{format_time(start)}, {format_time(end)}]" for start, end in _spans(target["interval"]))

    def score_answer(self, answer, target):
        spans, reason = parse_intervals(answer)
        expected, duration = _spans(target["interval"]), target.get("duration")
        if len(expected) == 1 and len(spans) > 1:
            return self.failed("many_intervals")
        if reason != "ok":
            return self.failed(reason)
        intervals = [list(span) for span in spans]
        if duration is not None:
            spans = [(start, min(end, float(duration))) for start, end in spans if start < duration]
        if len(expected) == 1:
            iou, score = self._one(spans[0] if spans else (0.0, 0.0), expected[0], duration)
        else:
            iou = metrics.interval_set_iou(spans, expected)
            score = iou if self.several == "union" else metrics.interval_soft_f1(spans, expected)
        if self.threshold is not None:
            score = float(score >= self.threshold)
        parts = {"iou": iou, **{f"iou@{level}": float(iou >= level) for level in _THRESHOLDS}}
        return RewardResult(score, parts, intervals, "ok")

    def _one(self, span: Span, expected: Span, duration: float | None) -> tuple[float, float]:
        iou = metrics.temporal_iou(span, expected)
        if self.kind == "giou":
            return iou, (1.0 + metrics.generalized_temporal_iou(span, expected)) / 2.0
        if self.kind == "boundary":
            near = [1.0 - abs(answered - meant) / duration for answered, meant in zip(span, expected)]
            return iou, iou * near[0] * near[1]
        return iou, iou


def _spans(value: Any) -> list[Span]:
    """The target's intervals in seconds; empty if it has none, or something else."""
    if not isinstance(value, (list, tuple)) or isinstance(value, Mapping):
        return []
    items = value if value and all(isinstance(item, (list, tuple)) for item in value) else [value]
    spans = [tuple(_time(time) for time in item) for item in items]
    return spans if all(len(span) == 2 and None not in span for span in spans) else []


def _time(value: Any) -> float | None:
    if isinstance(value, str):
        return parse_timestamp(value[:100])[0]
    return round_time(value) if is_number(value) else None
