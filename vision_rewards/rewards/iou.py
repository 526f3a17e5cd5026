"""Overlap of one predicted box with one target box."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import is_box, parse_boxes
from vision_rewards.types import AnswerReward, RewardResult, TargetError, is_number, param


@dataclass(frozen=True, kw_only=True)
class Iou(AnswerReward):
    """IoU or GIoU of exactly one box, in the coordinates of the target."""

    name = "iou"
    summary = "Overlap of the answer's one box with the target box."
    target_keys: ClassVar = {
        "box": "[x1, y1, x2, y2] with x1 < x2 and y1 < y2",
        "label?": "str: what the box shows; not scored",
    }
    formula = (
        "iou: |A ∩ B| / |A ∪ B|, or [IoU ≥ threshold] where a threshold is set; "
        "giou: (GIoU + 1) / 2 with GIoU = IoU − |hull \\ (A ∪ B)| / |hull|"
    )
    source = "RefCOCO's Acc@0.5; GIoU: Rezatofighi et al. 2019"
    closes = (
        "one box only: printing many and being scored on the best earns 0",
        "coordinates are never guessed: no rescaling by magnitude, no two readings of one answer",
        "flipped, empty, infinite and NaN boxes earn 0, without a division by zero",
        "no +1 pixel convention: equal boxes have IoU 1 in pixels and in normalised units",
    )
    tasks = (
        "iou",
        "grounding",
        "visual grounding",
        "spatial grounding",
        "rec",
        "referring expression comprehension",
    )
    part_defaults: ClassVar = {"iou": 0.0, "iou@0.5": 0.0}
    metric_part = "iou@0.5"

    threshold: float | None = param(
        None, "score 1 from this IoU on (inclusive) and 0 below; none: the IoU itself", low=0, high=1
    )
    kind: str = param("iou", "`giou` also grades boxes that do not touch", choices=("iou", "giou"))
    coordinates: str = param(
        "as_target",
        "the answer is in the target's own coordinates; converting them is the caller's",
        choices=("as_target",),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.threshold == 0:
            raise ValueError("reward 'iou': parameter 'threshold': 0 would pass every box")
        if self.threshold is not None and self.kind != "iou":
            raise ValueError("reward 'iou': parameter 'threshold' applies to kind='iou' only")

    def check_target(self, target):
        box = target["box"]
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(is_number, box)) or not is_box(list(box)):
            raise TargetError(f"'box' is {str(box)[:80]}, not [x1, y1, x2, y2] with x1 < x2 and y1 < y2")

    def gold_answer(self, target):
        return json.dumps(list(target["box"]))

    def score_answer(self, answer, target):
        boxes, reason = parse_boxes(answer)
        if len(boxes) > 1:
            return self.failed("many_boxes", boxes[:10] if reason == "ok" else None)
        if reason != "ok":
            return self.failed(reason)
        iou = float(metrics.box_iou(boxes, [target["box"]])[0, 0])
        score = iou
        if self.kind == "giou":
            score = (float(metrics.generalized_box_iou(boxes, [target["box"]])[0, 0]) + 1) / 2
        elif self.threshold is not None:
            score = float(iou >= self.threshold)
        return RewardResult(score, {"iou": iou, "iou@0.5": float(iou >= 0.5)}, boxes[0], "ok")
