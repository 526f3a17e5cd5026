"""Measures of time intervals: (start, end) in any one unit."""

from __future__ import annotations

from collections.abc import Sequence

Interval = Sequence[float]


def temporal_iou(first: Interval, second: Interval) -> float:
    """Intersection over union of two time intervals in one unit; 0 where either is reversed or empty.

    The union is the true one. Charades-STA's and EasyVideoR1's code divides by the hull, which differs only where the
    intersection, and so the result, is 0.
    """
    (start, end), (other_start, other_end) = first, second
    if not (start < end and other_start < other_end):
        return 0.0
    shared = max(0.0, min(end, other_end) - max(start, other_start))
    # In this order equal intervals give exactly 1.
    return shared / (((end - start) + (other_end - other_start)) - shared)


def generalized_temporal_iou(first: Interval, second: Interval) -> float:
    """GIoU in one dimension, in [-1, 1]: IoU − (gap between the two) / hull; −1 where either is reversed or empty."""
    (start, end), (other_start, other_end) = first, second
    if not (start < end and other_start < other_end):
        return -1.0
    hull = max(end, other_end) - min(start, other_start)
    gap = max(0.0, max(start, other_start) - min(end, other_end))
    return temporal_iou(first, second) - gap / hull


def merge_intervals(intervals: Sequence[Interval]) -> list[tuple[float, float]]:
    """The same set of moments as disjoint intervals in order; reversed and empty ones hold no moment."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted((float(start), float(end)) for start, end in intervals if start < end):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def interval_set_iou(first: Sequence[Interval], second: Sequence[Interval]) -> float:
    """|A ∩ B| / |A ∪ B| of the moments that two sets of intervals cover; 0 where either covers none.

    Overlapping intervals of one set count once, so that repeating an interval changes nothing.
    """
    merged, others = merge_intervals(first), merge_intervals(second)
    if not merged or not others:
        return 0.0
    if merged == others:
        return 1.0
    shared, i, j = 0.0, 0, 0
    while i < len(merged) and j < len(others):
        shared += max(0.0, min(merged[i][1], others[j][1]) - max(merged[i][0], others[j][0]))
        if merged[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    covered = sum(end - start for start, end in merged) + sum(end - start for start, end in others)
    return min(1.0, shared / (covered - shared))


def interval_soft_f1(first: Sequence[Interval], second: Sequence[Interval]) -> float:
    """2 Σ IoU / (|A| + |B|), the sum over the one-to-one matching of largest total IoU; both empty 1, one empty 0."""
    if not first or not second:
        return float(not first and not second)
    from scipy.optimize import linear_sum_assignment

    iou_NM = [[temporal_iou(a, b) for b in second] for a in first]
    rows, columns = linear_sum_assignment(iou_NM, maximize=True)
    total = sum(iou_NM[row][column] for row, column in zip(rows, columns))
    return min(1.0, 2.0 * total / (len(first) + len(second)))
