"""Overlap of one predicted box with one target box."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import ORDERS, in_order, parse_boxes, read_box
from vision_rewards.plain import Plain, labelled_box_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_STEPS = tuple(0.5 + 0.05 * step for step in range(10))
_CAT = {"box": [12, 18, 108, 224], "label": "cat"}


def check_box(target, key="box"):
    """Raise TargetError unless target[key] is a box."""
    if read_box(target[key]) is None:
        raise TargetError(f"{key!r} is {str(target[key])[:80]}, not [x1, y1, x2, y2] with x1 < x2 and y1 < y2")


@dataclass(frozen=True, kw_only=True)
class Iou(AnswerReward):
    """IoU, or a graded or stepped relative of it, of exactly one box, in the coordinates of the target."""

    name = "iou"
    summary = "Overlap of the answer's one box with the target box."
    target_keys: ClassVar = {
        "box": "[x1, y1, x2, y2] with x1 < x2 and y1 < y2",
        "label?": "str: what the box shows; not scored",
    }
    places: ClassVar = {"box": "box"}
    formula = (
        "iou: |A ∩ B| / |A ∪ B|, or [IoU ≥ threshold] where a threshold is set; "
        "giou: (GIoU + 1) / 2 with GIoU = IoU − |hull \\ (A ∪ B)| / |hull|; "
        "diou: (DIoU + 1) / 2 with DIoU = IoU − (distance of the centres / diagonal of the hull)²; "
        "steps: the share of 0.50, 0.55, …, 0.95 that IoU reaches; "
        "center: [the centre of A lies in B, edges included]"
    )
    source = (
        "RefCOCO's Acc@0.5; GIoU: Rezatofighi et al. 2019; DIoU: Zheng et al. 2020; steps: COCO's AP of one box; "
        "center: lmms-eval's Center_ACC"
    )
    closes = (
        "one box only: printing many and being scored on the best earns 0",
        "coordinates are never guessed: no rescaling by magnitude, no two readings of one answer",
        "flipped, empty, infinite and NaN boxes earn 0, without a division by zero",
        "no +1 pixel convention: equal boxes have IoU 1 in pixels and in normalised units",
        "a cut-off answer earns 0, even where its box is whole",
    )
    tasks = (
        "iou",
        "grounding",
        "visual grounding",
        "spatial grounding",
        "rec",
        "referring expression comprehension",
    )
    plain = (Plain("the box, bare or in `box`, `bbox`, `bbox_2d`, as list or JSON text", "[12, 18, 108, 224]"),)
    examples = (
        (_CAT, "[12, 18, 108, 224]", "the target box itself"),
        (_CAT, '```json\n{"bbox_2d": [12, 18, 108, 121], "label": "cat"}\n```', "its upper half"),
        (_CAT, "[12, 18, 108, 224] [0, 0, 9, 9]", "two boxes"),
        (_CAT, "[200, 18, 296, 224]", "a box beside it is graded by its distance", {"kind": "giou"}),
        (_CAT, "[10, 20, 110, 220]", "a near box counts as right", {"threshold": 0.5}),
    )
    part_defaults: ClassVar = {"iou": 0.0, "iou@0.5": 0.0}
    metric_part = "iou@0.5"

    threshold: float | None = param(
        None, "score 1 from this IoU on (inclusive) and 0 below; none: the IoU itself", low=0, high=1
    )
    kind: str = param(
        "iou",
        "`giou` and `diou` also grade boxes that do not touch, and so earn a little for any box; see the formulas",
        choices=("iou", "giou", "diou", "steps", "center"),
    )
    order: str = param(
        "xy", "which coordinate of a corner the answer has first; Gemini's `box_2d` has y first", choices=ORDERS
    )
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

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return labelled_box_of(answer)

    def check_target(self, target):
        check_box(target)

    def gold_answer(self, target):
        return json.dumps(in_order(target["box"], self.order))

    def score_answer(self, answer, target):
        boxes, reason = parse_boxes(answer)
        if len(boxes) > 1:
            return self.failed("many_boxes", boxes[:10] if reason == "ok" else None)
        if reason != "ok":
            return self.failed(reason)
        boxes = [in_order(boxes[0], self.order)]
        iou = metrics.one_box_iou(boxes[0], target["box"])
        parts = {"iou": iou, "iou@0.5": float(iou >= 0.5)}
        return RewardResult(self._score(iou, boxes, [target["box"]]), parts, boxes[0], "ok")

    def _score(self, iou: float, boxes: list, target: list) -> float:
        if self.threshold is not None:
            return float(iou >= self.threshold)
        return {
            "iou": lambda: iou,
            "giou": lambda: (float(metrics.generalized_box_iou(boxes, target)[0, 0]) + 1) / 2,
            "diou": lambda: (float(metrics.distance_box_iou(boxes, target)[0, 0]) + 1) / 2,
            "steps": lambda: sum(iou >= step for step in _STEPS) / len(_STEPS),
            "center": lambda: float(metrics.center_in_box(boxes, target)[0]),
        }[self.kind]()
