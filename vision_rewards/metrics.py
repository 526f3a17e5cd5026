"""Measures that rewards and evaluations share. Boxes are (x1, y1, x2, y2) in any one unit, intervals (start, end)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein

from vision_rewards.parsers import collapse_spaces


def _areas(first, second) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    boxes_N4 = np.asarray(first, dtype=np.float64).reshape(-1, 4)
    boxes_M4 = np.asarray(second, dtype=np.float64).reshape(-1, 4)
    sides_N2 = np.clip(boxes_N4[:, 2:] - boxes_N4[:, :2], 0, None)
    sides_M2 = np.clip(boxes_M4[:, 2:] - boxes_M4[:, :2], 0, None)
    low_NM2 = np.maximum(boxes_N4[:, None, :2], boxes_M4[None, :, :2])
    high_NM2 = np.minimum(boxes_N4[:, None, 2:], boxes_M4[None, :, 2:])
    shared_NM = np.clip(high_NM2 - low_NM2, 0, None).prod(axis=-1)
    union_NM = sides_N2.prod(axis=-1)[:, None] + sides_M2.prod(axis=-1)[None, :] - shared_NM
    return boxes_N4, boxes_M4, shared_NM, union_NM


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), 0.0)


def box_iou(first, second) -> np.ndarray:
    """Intersection over union of every pair: float64 [N, M] from [N, 4] and [M, 4].

    A pair without a union (two boxes of no area, flipped boxes included) has IoU 0.
    """
    _, _, shared_NM, union_NM = _areas(first, second)
    return _ratio(shared_NM, union_NM)


def generalized_box_iou(first, second) -> np.ndarray:
    """GIoU of every pair, float64 [N, M] in [-1, 1]: IoU − |hull \\ union| / |hull| (Rezatofighi et al. 2019)."""
    boxes_N4, boxes_M4, shared_NM, union_NM = _areas(first, second)
    low_NM2 = np.minimum(boxes_N4[:, None, :2], boxes_M4[None, :, :2])
    high_NM2 = np.maximum(boxes_N4[:, None, 2:], boxes_M4[None, :, 2:])
    hull_NM = np.clip(high_NM2 - low_NM2, 0, None).prod(axis=-1)
    return _ratio(shared_NM, union_NM) - _ratio(np.clip(hull_NM - union_NM, 0, None), hull_NM)


def temporal_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two time intervals in one unit; 0 where either is reversed or empty."""
    (start, end), (other_start, other_end) = first, second
    if not (start < end and other_start < other_end):
        return 0.0
    shared = max(0.0, min(end, other_end) - max(start, other_start))
    return shared / (end - start + other_end - other_start - shared)


def edit_distance(first: Sequence, second: Sequence) -> int:
    """Levenshtein distance: insertions, deletions and substitutions, each 1, of characters or of list items."""
    return Levenshtein.distance(first, second)


def normalized_edit_similarity(first: Sequence, second: Sequence) -> float:
    """1 − distance / length of the longer, in [0, 1]; two empty sequences are alike (1)."""
    longest = max(len(first), len(second))
    return 1.0 - edit_distance(first, second) / longest if longest else 1.0


def character_error_rate(prediction: str, target: str) -> float:
    """Distance / characters of the target, unbounded above; for an empty target 0, or 1 if anything was predicted."""
    return edit_distance(prediction, target) / len(target) if target else float(bool(prediction))


def word_error_rate(prediction: str, target: str) -> float:
    """Distance in words / words of the target, unbounded above; for an empty target as `character_error_rate`."""
    predicted, expected = prediction.split(), target.split()
    return edit_distance(predicted, expected) / len(expected) if expected else float(bool(predicted))


def anls(prediction: str, targets: Sequence[str], *, threshold: float = 0.5, inclusive: bool = False) -> float:
    """ANLS of one question: best similarity to any target, 0 where the normalised distance reaches the threshold.

    Case and runs of white space are folded before both the distance and its denominator, so that padding gains nothing.

    Args:
        prediction: the answer.
        targets: accepted answers; an empty prediction scores 0 against all of them.
        threshold: τ, the normalised distance from which an answer counts as wrong.
        inclusive: keep a distance of exactly τ, as lmms-eval, VLMEvalKit and anls_star do; the paper (Biten et al.
            2019) does not.
    """
    prediction = collapse_spaces(prediction).lower()
    best = 0.0
    for target in targets:
        target = collapse_spaces(target).lower()
        longest = max(len(prediction), len(target))
        if not prediction or not longest:
            continue
        distance = edit_distance(prediction, target) / longest
        if distance < threshold or (inclusive and distance == threshold):
            best = max(best, 1.0 - distance)
    return best
