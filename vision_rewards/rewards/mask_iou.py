"""One predicted mask, written out or chosen by points, and the target mask."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vision_rewards import metrics
from vision_rewards.parsers import MAX_ANSWER, Mask, parse_mask, parse_points, read_mask
from vision_rewards.plain import Plain, structure_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_OUTLINES = ("counts", "polygons", "segmentation")
MAX_CANDIDATES = 64
MAX_POINTS = 32
MAX_CANDIDATE_PIXELS = 2**24  # over all candidates of a target: 16 MB

_LEFT = {"mask": {"size": [4, 4], "polygons": [[0, 0, 2, 0, 2, 4, 0, 4]]}}
_HALVES = [
    {"size": [4, 4], "counts": [0, 8, 8]},
    {"size": [4, 4], "counts": [8, 8]},
    {"size": [4, 4], "counts": [0, 16]},
]
_CHOICE = {"mask": _HALVES[0], "candidates": _HALVES}


def to_pixels(mask: Mask) -> np.ndarray:
    """The mask as bool [height, width]."""
    if mask.runs is not None:
        return metrics.decode_runs(mask.runs, mask.height, mask.width)
    return metrics.rasterize_polygons(mask.polygons, mask.height, mask.width)


def choose_candidate(candidates_CHW: np.ndarray, points: list[list[float]]) -> int | None:
    """The smallest candidate that covers every point, the first of equal ones; None where no candidate does."""
    height, width = candidates_CHW.shape[1:]
    if not all(0 <= x < width and 0 <= y < height for x, y in points):
        return None
    covered_CP = candidates_CHW[:, [int(y) for _, y in points], [int(x) for x, _ in points]]
    areas_C = np.where(covered_CP.all(axis=1), candidates_CHW.sum(axis=(1, 2)), height * width + 1)
    best = int(areas_C.argmin())
    return best if areas_C[best] <= height * width else None


def points_for(candidates_CHW: np.ndarray, choice: int) -> list[list[float]]:
    """Pixel centres by which `choose_candidate` gives `choice`: one that no rival covers, or one against each rival."""
    mask_HW = candidates_CHW[choice]
    area = int(mask_HW.sum())
    rivals = [
        other
        for index, other in enumerate(candidates_CHW)
        if (int(other.sum()), index) < (area, choice) and not np.array_equal(other, mask_HW)
    ]
    free_HW = mask_HW & ~np.any(rivals, axis=0) if rivals else mask_HW
    outside = [free_HW] if free_HW.any() else [mask_HW & ~rival for rival in rivals]
    pixels = [np.unravel_index(int(np.flatnonzero(region)[0]), region.shape) for region in outside]
    return [[float(column) + 0.5, float(row) + 0.5] for row, column in pixels]


@dataclass(frozen=True, kw_only=True)
class MaskIou(AnswerReward):
    """IoU of the answer's mask, given as COCO run lengths, as polygons, or by points that choose among candidates."""

    name = "mask_iou"
    summary = "IoU of one mask: run lengths, polygons, or points that choose among given masks."
    target_keys: ClassVar = {
        "mask": "{size: [height, width], counts: COCO's run lengths} or {size, polygons: [[x, y, x, y, …], …]}",
        "candidates?": "list of such masks, `mask` one of them; needed by answer=points",
    }
    formula = (
        "|A ∩ B| / |A ∪ B| in pixels, 1 where both are empty; "
        "points: A is the smallest candidate that covers every point of the answer, and the score 0 where none does"
    )
    source = "region similarity J of DAVIS; its mean is LISA's gIoU; polygons rasterised by COCO's rule"
    closes = (
        "one mask of the target's own size: no other size, no further masks to choose from",
        "run lengths must cover the image exactly, and polygons stay inside it",
        "points all over the image leave only candidates that cover everything",
        "an empty answer is not an empty mask: only a written empty mask equals an empty target",
        "sizes, vertices and outlines are bounded, so that no answer takes long",
    )
    tasks = ("mask iou", "segmentation", "segmentation image", "referring segmentation", "reasoning segmentation")
    plain = (
        Plain(
            "the mask: a mapping with `size` and `counts` or `polygons`, or JSON text of it",
            {"size": [4, 4], "counts": [0, 8, 8]},
        ),
    )
    examples = (
        (_LEFT, '{"polygons": [[0, 0, 2, 0, 2, 4, 0, 4]]}', "the left half"),
        (_LEFT, '{"size": [4, 4], "counts": [0, 16]}', "the whole image"),
        (_LEFT, '{"size": [2, 2], "counts": [0, 2, 2]}', "another size"),
        (
            _CHOICE,
            "[[0.5, 1.5], [1.5, 3.5]]",
            "points that only the left half and the whole cover",
            {"answer": "points"},
        ),
        (_CHOICE, "[[0.5, 0.5], [3.5, 3.5]]", "points that only the whole image covers", {"answer": "points"}),
    )
    part_defaults: ClassVar = {"iou": 0.0, "iou@0.5": 0.0}

    answer: str = param(
        "mask", "what the answer holds: a mask, or points that choose one of `candidates`", choices=("mask", "points")
    )
    threshold: float | None = param(
        None, "score 1 from this IoU on (inclusive) and 0 below; none: the IoU itself", low=0.01, high=1
    )

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        try:
            value = structure_of(answer)
        except ValueError:
            value = None
        if not isinstance(value, Mapping):
            raise cls.needs_target(answer)
        if isinstance(value.get("mask"), Mapping):
            return {key: value[key] for key in ("mask", "candidates") if value.get(key) is not None}
        if value.get("size") is None or not any(value.get(key) is not None for key in _OUTLINES):
            raise cls.needs_target(answer)
        return {"mask": {key: value[key] for key in ("size", *_OUTLINES) if value.get(key) is not None}}

    def check_target(self, target):
        mask = self._read(target["mask"], "'mask'")
        if mask.polygons is not None and not to_pixels(mask).any():
            raise TargetError("'mask' has polygons that cover no pixel")
        if self.answer == "points":
            self._check_candidates(target, mask)
        if len(self.gold_answer(target)) > MAX_ANSWER:
            raise TargetError(f"'mask' takes more than {MAX_ANSWER} characters to write, more than is read")

    def _check_candidates(self, target, mask: Mask) -> None:
        candidates = target.get("candidates")
        if not isinstance(candidates, (list, tuple)) or not 0 < len(candidates) <= MAX_CANDIDATES:
            raise TargetError(f"'candidates' is {str(candidates)[:40]}, not a list of 1 to {MAX_CANDIDATES} masks")
        if len(candidates) * mask.height * mask.width > MAX_CANDIDATE_PIXELS:
            raise TargetError(
                f"'candidates' have {len(candidates)} × {mask.height} × {mask.width} pixels, above "
                f"{MAX_CANDIDATE_PIXELS}; give fewer or smaller ones"
            )
        pixels = to_pixels(mask)
        candidates_CHW = self._candidates(target)
        if not pixels.any():
            raise TargetError("'mask' is empty: no point chooses it")
        if not (candidates_CHW == pixels).all(axis=(1, 2)).any():
            raise TargetError("'mask' is none of 'candidates': no points choose it")
        if len(points_for(candidates_CHW, self._wanted(candidates_CHW, pixels))) > MAX_POINTS:
            raise TargetError(f"'mask' takes more than {MAX_POINTS} points to be chosen among 'candidates'")

    def _read(self, value, place: str, size=None) -> Mask:
        mask, reason = read_mask(value, size) if isinstance(value, dict) else (None, "unparsable")
        if mask is None:
            raise TargetError(
                f"{place} is {str(value)[:60]} ({reason}), not {{size: [height, width], counts or polygons}}"
            )
        return mask

    def _candidates(self, target) -> np.ndarray:
        size = tuple(target["mask"]["size"])
        masks = [self._read(item, f"'candidates'[{i}]", size) for i, item in enumerate(target["candidates"])]
        return np.stack([to_pixels(mask) for mask in masks])

    def _wanted(self, candidates_CHW: np.ndarray, pixels_HW: np.ndarray) -> int:
        return int((candidates_CHW == pixels_HW).all(axis=(1, 2)).argmax())

    def gold_answer(self, target):
        if self.answer == "points":
            candidates_CHW = self._candidates(target)
            pixels_HW = to_pixels(self._read(target["mask"], "'mask'"))
            return json.dumps(points_for(candidates_CHW, self._wanted(candidates_CHW, pixels_HW)))
        keys = ("size", "counts") if "counts" in target["mask"] else ("size", "polygons", "segmentation")
        return json.dumps({key: target["mask"][key] for key in keys if key in target["mask"]})

    def score_answer(self, answer, target):
        expected_HW = to_pixels(self._read(target["mask"], "'mask'"))
        if self.answer == "points":
            points, reason = self._read_points(answer)
            if reason != "ok":
                return self.failed(reason)
            candidates_CHW = self._candidates(target)
            chosen = choose_candidate(candidates_CHW, points)
            if chosen is None:
                return self.failed("no_candidate", points)
            answered, parsed = candidates_CHW[chosen], {"points": points, "candidate": chosen}
        else:
            mask, reason = parse_mask(answer, expected_HW.shape)
            if mask is None:
                return self.failed(reason)
            answered = to_pixels(mask)
            parsed = {"size": [mask.height, mask.width], "area": int(answered.sum())}
        iou = float(metrics.mask_iou(answered[None], expected_HW[None])[0, 0])
        score = iou if self.threshold is None else float(iou >= self.threshold)
        return RewardResult(score, {"iou": iou, "iou@0.5": float(iou >= 0.5)}, parsed, "ok")

    def _read_points(self, answer: str) -> tuple[list[list[float]], str]:
        points, reason = parse_points(answer)
        if len(points) > MAX_POINTS:
            return [], "too_many_points"
        return points, reason
