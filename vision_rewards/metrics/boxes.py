"""Measures of boxes: (x1, y1, x2, y2) in any one unit, without the pixel that some code adds to each side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class BoxMatch(NamedTuple):
    """A one-to-one matching of predicted boxes with target boxes.

    Attributes:
        pairs: int64 [K, 2], (index of the prediction, index of the target), by rising index of the prediction.
        ious: float64 [K], the IoU of each pair, above 0.
    """

    pairs: np.ndarray
    ious: np.ndarray


def _boxes(boxes) -> np.ndarray:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _overlap(low_first, high_first, low_second, high_second) -> tuple[np.ndarray, np.ndarray]:
    """Areas of intersection and union from corners [..., 2] that broadcast."""
    first = np.clip(high_first - low_first, 0, None).prod(axis=-1)
    second = np.clip(high_second - low_second, 0, None).prod(axis=-1)
    sides = np.minimum(high_first, high_second) - np.maximum(low_first, low_second)
    shared = np.clip(sides, 0, None).prod(axis=-1)
    return shared, first + second - shared


def _corners(first, second) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    boxes_N4, boxes_M4 = _boxes(first)[:, None], _boxes(second)[None, :]
    return boxes_N4[..., :2], boxes_N4[..., 2:], boxes_M4[..., :2], boxes_M4[..., 2:]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), 0.0)


def box_iou(first, second) -> np.ndarray:
    """Intersection over union of every pair: float64 [N, M] from [N, 4] and [M, 4].

    A pair without a union (two boxes of no area, flipped boxes included) has IoU 0. Equals torchvision's `box_iou` and
    pycocotools' `iou` (which takes x, y, width, height) on boxes with an area; VLM-R1 takes a pixel off, and RefCOCO in
    lmms-eval divides by zero where the union is empty.
    """
    return _ratio(*_overlap(*_corners(first, second)))


def one_box_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """`box_iou` of one pair, without arrays."""
    left, top, right, bottom = map(float, first)
    other_left, other_top, other_right, other_bottom = map(float, second)
    area = max(right - left, 0.0) * max(bottom - top, 0.0)
    other_area = max(other_right - other_left, 0.0) * max(other_bottom - other_top, 0.0)
    width = min(right, other_right) - max(left, other_left)
    height = min(bottom, other_bottom) - max(top, other_top)
    shared = max(width, 0.0) * max(height, 0.0)
    union = area + other_area - shared
    return shared / union if union > 0 else 0.0


def aligned_box_iou(first, second) -> np.ndarray:
    """IoU of the first with the first, the second with the second, …: float64 [N] from [N, 4] twice."""
    first, second = _boxes(first), _boxes(second)
    return _ratio(*_overlap(first[:, :2], first[:, 2:], second[:, :2], second[:, 2:]))


def generalized_box_iou(first, second) -> np.ndarray:
    """GIoU of every pair, float64 [N, M] in [-1, 1]: IoU − |hull \\ union| / |hull| (Rezatofighi et al. 2019)."""
    corners = low_first, high_first, low_second, high_second = _corners(first, second)
    shared_NM, union_NM = _overlap(*corners)
    sides_NM2 = np.maximum(high_first, high_second) - np.minimum(low_first, low_second)
    hull_NM = np.clip(sides_NM2, 0, None).prod(axis=-1)
    return _ratio(shared_NM, union_NM) - _ratio(np.clip(hull_NM - union_NM, 0, None), hull_NM)


def distance_box_iou(first, second) -> np.ndarray:
    """DIoU of every pair, float64 [N, M] in (-1, 1]: IoU − ρ² / c² (Zheng et al. 2020, equation 7).

    ρ is the distance of the centres and c the diagonal of the hull; 0 is taken off where the hull is a point.
    torchvision's `distance_box_iou` adds 1e-7 to c².
    """
    corners = low_first, high_first, low_second, high_second = _corners(first, second)
    hull_NM2 = np.maximum(high_first, high_second) - np.minimum(low_first, low_second)
    apart_NM2 = (low_first + high_first - low_second - high_second) / 2
    distance_NM = _ratio((apart_NM2**2).sum(axis=-1), (hull_NM2**2).sum(axis=-1))
    return _ratio(*_overlap(*corners)) - distance_NM


def center_in_box(predicted, target) -> np.ndarray:
    """Whether the centre of each predicted box lies in its target box, edges included: bool [N] from [N, 4] twice.

    lmms-eval's Center_ACC; unlike there, a flipped prediction counts as a miss.
    """
    predicted, target = _boxes(predicted), _boxes(target)
    upright = (predicted[:, :2] <= predicted[:, 2:]).all(axis=-1)
    return upright & points_in_boxes((predicted[:, :2] + predicted[:, 2:]) / 2, target)


def points_in_boxes(points, boxes) -> np.ndarray:
    """Whether each point lies in its box, edges included: bool [N] from [N, 2] and [N, 4].

    ScreenSpot's click accuracy. VLMEvalKit shrinks the box by a pixel at its right and lower edge, GUI-R1 leaves out
    all edges.
    """
    points, boxes = np.asarray(points, dtype=np.float64).reshape(-1, 2), _boxes(boxes)
    return ((boxes[:, :2] <= points) & (points <= boxes[:, 2:])).all(axis=-1)


def match_boxes(
    predicted,
    target,
    *,
    predicted_labels: Sequence[Any] | None = None,
    target_labels: Sequence[Any] | None = None,
    threshold: float | None = None,
) -> BoxMatch:
    """The best one-to-one matching of two sets of boxes, by the Hungarian method (Kuhn 1955).

    Args:
        predicted: [N, 4].
        target: [M, 4].
        predicted_labels, target_labels: N and M labels; pairs with different labels are ruled out before matching, so
            that a box of a wrong label takes no target from a right one. Give both or none.
        threshold: None: the total IoU is largest. Else only pairs with IoU ≥ threshold count: their number is largest,
            then their total IoU.

    COCO and VLM-R1 match greedily, by score and in order of the list; see `average_precision`.

    Raises:
        ValueError: a coordinate that is not finite, or labels that are too few, too many or only given for one side.
    """
    from scipy.optimize import linear_sum_assignment

    if not (np.isfinite(_boxes(predicted)).all() and np.isfinite(_boxes(target)).all()):
        raise ValueError("boxes to match must have finite coordinates")
    iou_NM = box_iou(predicted, target)
    if (predicted_labels is None) != (target_labels is None):
        raise ValueError("labels must be given for both sides or for none")
    if predicted_labels is not None:
        if (len(predicted_labels), len(target_labels)) != iou_NM.shape:
            raise ValueError(f"{len(predicted_labels)}, {len(target_labels)} labels for {iou_NM.shape} boxes")
        different = [
            [predicted_label != target_label for target_label in target_labels] for predicted_label in predicted_labels
        ]
        iou_NM[np.array(different, dtype=bool).reshape(iou_NM.shape)] = 0.0
    gain_NM = iou_NM
    if threshold is not None:
        # min(N, M) + 1 is more than any total IoU: one more pair outweighs it.
        gain_NM = np.where(iou_NM >= threshold, min(iou_NM.shape) + 1 + iou_NM, 0.0) * (iou_NM > 0)
    rows, columns = linear_sum_assignment(gain_NM, maximize=True)
    overlapping = gain_NM[rows, columns] > 0
    pairs = np.stack([rows[overlapping], columns[overlapping]], axis=-1).astype(np.int64)
    return BoxMatch(pairs, iou_NM[pairs[:, 0], pairs[:, 1]])


def recall_at_iou(ious, thresholds: Sequence[float] = (0.3, 0.5, 0.7), *, first: int = 1) -> np.ndarray:
    """R@n, IoU = m: the share of queries with an IoU ≥ m among the first n candidates, float64 [T] for T thresholds.

    Args:
        ious: [Q], one candidate a query, or [Q, K], ranked candidates, of boxes, intervals, masks or tubes. A query
            without an answer must be there as 0.
        thresholds: m; reaching one counts (RefCOCO's Acc@0.5, Charades-STA's R1@m). VidSTG's vIoU@m must exceed it.
        first: n.

    Raises:
        ValueError: no query, or n below 1.
    """
    ious = np.asarray(ious, dtype=np.float64)
    ious = ious[:, None] if ious.ndim == 1 else ious
    if ious.size == 0 or first < 1:
        raise ValueError(f"recall needs a query and first ≥ 1, not IoUs of shape {ious.shape} and first={first}")
    best_Q = ious[:, :first].max(axis=1)
    return (best_Q[:, None] >= np.asarray(thresholds, dtype=np.float64)).mean(axis=0)
