"""One predicted point and the box it should hit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import ORDERS, in_order, parse_boxes, parse_points
from vision_rewards.plain import Plain, labelled_box_of
from vision_rewards.rewards.iou import check_box
from vision_rewards.types import AnswerReward, RewardResult, param

_BUTTON = {"box": [100, 40, 180, 60]}


def gaussian_closeness(point, box, alpha: float) -> float:
    """exp(−½ ((dx / αw)² + (dy / αh)²)) of a point to the centre of a box w wide and h high, in [0, 1]."""
    x1, y1, x2, y2 = box
    x = (point[0] - (x1 + x2) / 2) / (alpha * (x2 - x1))
    y = (point[1] - (y1 + y2) / 2) / (alpha * (y2 - y1))
    return math.exp(-(x * x + y * y) / 2)


def in_box(point, box) -> bool:
    """Whether a point lies in a box, edges included."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


@dataclass(frozen=True, kw_only=True)
class PointInBox(AnswerReward):
    """Whether the one point of the answer hits the target box, or how close it comes to its centre."""

    name = "point_in_box"
    summary = "Whether the answer's one point hits the target box."
    target_keys: ClassVar = {"box": "[x1, y1, x2, y2] with x1 < x2 and y1 < y2"}
    places: ClassVar = {"box": "box"}
    formula = (
        "hit: [x1 ≤ x ≤ x2 and y1 ≤ y ≤ y2]; "
        "gaussian: exp(−½ ((dx / αw)² + (dy / αh)²)), (dx, dy) from the centre of the box, w and h its sides"
    )
    source = "hit: ScreenSpot's click accuracy; gaussian: GUI-G² (Tang et al. 2025), whose α is 0.5"
    closes = (
        "one point only: printing a grid of points earns 0",
        "no default point: an answer without one earns 0, where the suites score the corner (0, 0)",
        "coordinates are never guessed: no division by 1000 or by the image's size when a number is large",
        "with `answer=box` only the centre counts, so that a large box gains nothing by covering",
        "the gaussian has no step at the edge to sit on: the centre earns most",
    )
    tasks = ("point in box", "gui grounding", "pointing", "screenspot")
    plain = (Plain("the box to hit, as for `iou`", "[100, 40, 180, 60]"),)
    examples = (
        (_BUTTON, "[140, 50]", "the centre of the button"),
        (_BUTTON, '{"point_2d": [180, 60], "label": "OK"}', "its corner still hits"),
        (_BUTTON, "(181, 50)", "just beside it"),
        (_BUTTON, "[140, 50] [10, 10]", "two points"),
        (_BUTTON, "(180, 50)", "half its width from the centre", {"kind": "gaussian"}),
        (_BUTTON, "[90, 30, 190, 70]", "a box, read by its centre", {"answer": "box"}),
    )
    part_defaults: ClassVar = {"hit": 0.0, "closeness": 0.0}
    metric_part = "hit"

    kind: str = param("hit", "`gaussian` grades misses by their distance", choices=("hit", "gaussian"))
    alpha: float = param(0.5, "width of the gaussian in sides of the box", low=0.01, high=100)
    order: str = param("xy", "which coordinate the answer has first; Gemini's points have y first", choices=ORDERS)
    answer: str = param(
        "point", "what the answer holds: one point, or one box read by its centre", choices=("point", "box")
    )

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        try:
            target = labelled_box_of(answer)
        except ValueError:
            target = {}
        # A point does not say how far from it is still a hit.
        if "box" not in target:
            raise cls.needs_target(answer)
        return {"box": target["box"]}

    def check_target(self, target):
        check_box(target)

    def gold_answer(self, target):
        x1, y1, x2, y2 = target["box"]
        place = [x1, y1, x2, y2] if self.answer == "box" else [(x1 + x2) / 2, (y1 + y2) / 2]
        return json.dumps(in_order(place, self.order))

    def score_answer(self, answer, target):
        marks, reason = parse_points(answer) if self.answer == "point" else parse_boxes(answer)
        if len(marks) > 1:
            return self.failed(f"many_{'points' if self.answer == 'point' else 'boxes'}")
        if reason != "ok":
            return self.failed(reason)
        value = in_order(marks[0], self.order)
        point = value if self.answer == "point" else [(value[0] + value[2]) / 2, (value[1] + value[3]) / 2]
        hit, closeness = float(in_box(point, target["box"])), gaussian_closeness(point, target["box"], self.alpha)
        return RewardResult(
            closeness if self.kind == "gaussian" else hit, {"hit": hit, "closeness": closeness}, value, "ok"
        )
