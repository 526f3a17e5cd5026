"""All objects of an image, boxes and labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import (
    MAX_ANSWER,
    MAX_BOXES,
    ORDERS,
    in_order,
    normalize_label,
    parse_labelled_boxes,
    read_box,
    skip_article,
)
from vision_rewards.plain import Plain, labelled_box_of, structure_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_PETS = {"boxes": [{"box": [0, 0, 40, 40], "label": "cat"}, {"box": [60, 0, 100, 40], "label": "dog"}]}
_CAT, _DOG = '{"bbox_2d": [0, 0, 40, 40], "label": "cat"}', '{"bbox_2d": [60, 0, 100, 40], "label": "dog"}'


def target_boxes(target) -> tuple[list, list | None]:
    """(boxes, labels) of a target; labels are None where it has none."""
    boxes, labels = target["boxes"], target.get("labels")
    if any(isinstance(item, dict) for item in boxes):
        labels = [item.get("label") for item in boxes]
        boxes = [item["box"] for item in boxes]
        labels = None if all(label is None for label in labels) else labels
    return list(boxes), list(labels) if labels is not None else None


@dataclass(frozen=True, kw_only=True)
class Detection(AnswerReward):
    """F1 of the answer's boxes after the best one-to-one matching, each pair counted by its IoU."""

    name = "detection"
    summary = "Soft F1 of a list of labelled boxes, one-to-one matched."
    target_keys: ClassVar = {
        "boxes": "list of [x1, y1, x2, y2] or of {box: […], label: str}; empty where there is nothing to find",
        "labels?": "list of str, one per box, where `boxes` does not hold them",
    }
    places: ClassVar = {"boxes": "boxes"}
    formula = (
        "2 Σ IoU of matched pairs / (boxes answered + boxes there), or with a threshold 2 · pairs / (…), over the "
        "one-to-one matching in which that is largest; a pair with different labels has IoU 0; two empty lists score 1"
    )
    source = "F1 by Hungarian matching (Kuhn 1955); replaces COCO's AP as VLM-R1's `od_ap` and `weighted_sum` use it"
    closes = (
        "each extra or repeated box lowers the score: AP without confidences forgives any number after the right ones",
        "boxes with a label that is not in the image count as extra; they are not dropped",
        "a box of the wrong label takes no target from a right one, since labels count before matching",
        "an unlabelled box matches nothing where the target has labels",
        "confidences are not read: no ranking, no reward for claiming certainty",
        "saying `None` for nothing found is not an answer: `[]` is, and earns 1 only where nothing is there",
        "a cut-off list earns 0",
    )
    tasks = (
        "detection",
        "object detection",
        "open vocabulary detection",
        "det",
        "od",
        "od ap",
        "od ap50",
        "odlength",
        "map",
        "weighted sum",
    )
    plain = (
        Plain(
            "every object, as list or JSON text; `None` where there is nothing",
            '[{"bbox_2d": [0, 0, 40, 40], "label": "cat"}]',
        ),
    )
    examples = (
        (_PETS, f"[{_CAT}, {_DOG}]", "both"),
        (_PETS, f"[{_CAT}]", "one of two"),
        (_PETS, f"[{_CAT}, {_DOG}, {_DOG}]", "one twice"),
        (_PETS, '[{"bbox_2d": [0, 0, 40, 40], "label": "dog"}]', "a wrong label"),
        ({"boxes": [[0, 0, 40, 40]], "labels": ["cat"]}, f"[{_CAT}]", "labels beside the boxes"),
        ({"boxes": [[0, 0, 40, 40]]}, "[[0, 0, 40, 20]]", "half a box, without labels"),
        ({"boxes": []}, "[]", "nothing there, nothing found"),
    )
    part_defaults: ClassVar = {"precision": 0.0, "recall": 0.0, "f1@0.5": 0.0}
    metric_part = "f1@0.5"

    threshold: float | None = param(
        None, "count pairs from this IoU on as 1 and others as 0; none: by their IoU", low=0.01, high=1
    )
    order: str = param(
        "xy", "which coordinate of a corner the answer has first; Gemini's `box_2d` has y first", choices=ORDERS
    )
    labels: str = param("match", "`ignore`: boxes alone count", choices=("match", "ignore"))

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        # VLM-R1 writes `None` where there is nothing to find.
        nothing = isinstance(answer, str) and answer.strip().lower() == "none"
        items = [] if nothing else structure_of(answer)
        if isinstance(items, Mapping):
            items = items["boxes"] if isinstance(items.get("boxes"), list) else [items]
        if not isinstance(items, list):
            raise ValueError(f"{items!r:.80} is not a list of objects")
        return {"boxes": [labelled_box_of(item) for item in items]}

    def check_target(self, target):
        items, labels = target["boxes"], target.get("labels")
        if not isinstance(items, (list, tuple)) or len(items) > MAX_BOXES:
            raise TargetError(f"'boxes' is {str(items)[:60]}, not a list of at most {MAX_BOXES} boxes")
        if labels is not None and not isinstance(labels, (list, tuple)):
            raise TargetError(f"'labels' is {str(labels)[:60]}, not a list of str")
        nested = [item for item in items if isinstance(item, dict)]
        if nested and (labels is not None or len(nested) != len(items)):
            raise TargetError("'boxes' mixes boxes and mappings, or repeats what 'labels' says; give labels in one way")
        for index, item in enumerate(items):
            if read_box(item.get("box") if isinstance(item, dict) else item) is None:
                raise TargetError(f"'boxes'[{index}] is {str(item)[:80]}, without x1 < x2 and y1 < y2")
        boxes, labels = target_boxes(target)
        if labels is not None and (
            len(labels) != len(boxes) or not all(isinstance(text, str) and normalize_label(text) for text in labels)
        ):
            raise TargetError(f"'labels' are {str(labels)[:60]}, not one visible str for each of {len(boxes)} boxes")
        if len(self.gold_answer(target)) > MAX_ANSWER:
            raise TargetError(f"'boxes' take more than {MAX_ANSWER} characters to write, more than is read")

    def gold_answer(self, target):
        boxes, labels = target_boxes(target)
        if labels is None:
            return json.dumps([{"bbox_2d": in_order(box, self.order)} for box in boxes])
        items = [{"bbox_2d": in_order(box, self.order), "label": label} for box, label in zip(boxes, labels)]
        return json.dumps(items, ensure_ascii=False)

    def score_answer(self, answer, target):
        items, reason = parse_labelled_boxes(answer)
        if reason != "ok":
            return self.failed(reason)
        items = [item._replace(box=in_order(item.box, self.order)) for item in items]
        boxes, labels = target_boxes(target)
        names = {}
        if labels is not None and self.labels == "match":
            # A box without a label equals no target's label.
            names["predicted_labels"] = [None if item.label is None else _name(item.label) for item in items]
            names["target_labels"] = [_name(label) for label in labels]
        match = metrics.match_boxes([item.box for item in items], boxes, threshold=self.threshold, **names)
        gained = float(match.ious.sum()) if self.threshold is None else len(match.ious)
        half = (
            match
            if self.threshold == 0.5
            else metrics.match_boxes([item.box for item in items], boxes, threshold=0.5, **names)
        )
        parts = {
            "precision": len(half.ious) / len(items) if items else float(not boxes),
            "recall": len(half.ious) / len(boxes) if boxes else float(not items),
            "f1@0.5": metrics.soft_f1(len(half.ious), len(items), len(boxes)),
        }
        score = metrics.soft_f1(gained, len(items), len(boxes))
        return RewardResult(min(score, 1.0), parts, [item._asdict() for item in items], "ok")


def _name(label: str) -> str:
    """A label that can be compared: `A cat` is `cat`."""
    return skip_article(normalize_label(label))
