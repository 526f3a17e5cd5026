"""Figures that are weighted sums of rows' scores, and how sure they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from math import fsum
from typing import Any

from mmrl.tracking.report.intervals import wilson


def by_column(columns: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[float]]:
    """Value of a column -> weights that give the mean over its rows; rows without the column are in none."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(columns):
        if row.get(name) is not None:
            rows[str(row[name])].append(i)
    return {value: _mean_of(rows[value], len(columns)) for value in sorted(rows)}


def _mean_of(rows: Sequence[int], count: int) -> list[float]:
    weights = [0.0] * count
    for i in rows:
        weights[i] = 1.0 / len(rows)
    return weights


def means(groups: Sequence[Sequence[float]], count: int) -> list[float]:
    """Weights of the mean of some means, each weighing the same; without groups those of the mean of all rows."""
    if not groups:
        return [1.0 / count] * count
    return [fsum(group[i] for group in groups) / len(groups) for i in range(count)]


def weighted(scores: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted sum, in whatever order rows come; of weights that sum to 1 it is in [0, 1] where the scores are."""
    total, whole = fsum(score * weight for score, weight in zip(scores, weights, strict=True)), fsum(weights)
    return total / whole if whole else 0.0


def interval(
    scores: Sequence[float], weights: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[float, float] | None:
    """The 95 % interval of a weighted mean of scores in [0, 1].

    Wilson's, over the number of independent rows that would be as sure: 1 / Σ w² where each cluster has one row. Rows
    of one picture or video err together, so that there it is p (1 - p) / V, V the variance clustered by them
    (Liang and Zeger, Biometrika 73, 1986): Σ over clusters (Σ w (score - p))² · C / (C - 1); 1 / Σ over clusters
    (Σ w)² where all scores are 0 or all 1.

    Returns:
        its ends; None where there are no rows.
    """
    share = weighted(scores, weights)
    errors: dict[Hashable, float] = defaultdict(float)
    shares: dict[Hashable, float] = defaultdict(float)
    rows = 0
    for score, weight, cluster in zip(scores, weights, clusters, strict=True):
        if weight:
            rows += 1
            errors[cluster] += weight * (score - share)
            shares[cluster] += weight
    if not rows:
        return None
    if len(errors) == rows:
        return wilson(share, 1.0 / fsum(weight * weight for weight in weights))
    independent = 1.0 / fsum(value * value for value in shares.values())
    if len(errors) > 1:
        variance = fsum(error * error for error in errors.values()) * len(errors) / (len(errors) - 1)
        independent = share * (1.0 - share) / variance if variance > 0.0 and 0.0 < share < 1.0 else independent
    return wilson(share, independent)
