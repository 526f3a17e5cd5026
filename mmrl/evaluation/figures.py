"""Figures that are weighted sums of rows' scores, and how sure they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import fsum
from typing import Any

from mmrl.contracts.benchmark import Scored
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


def numbered_draws(scored: Iterable[Scored]) -> list[tuple[int, Scored]]:
    """Each answer with its number among those to its row, from 0 on; of one answer to each row always 0."""
    drawn: Counter[str] = Counter()
    numbered = []
    for answer in scored:
        numbered.append((drawn[answer.sample.id], answer))
        drawn[answer.sample.id] += 1
    return numbered


def whole(scored: Iterable[Scored], columns: Sequence[str]) -> float:
    """The share of groups, rows of a draw that agree in some columns, in which every row is right."""
    groups: dict[tuple[Any, ...], bool] = defaultdict(lambda: True)
    for draw, answer in numbered_draws(scored):
        key = (draw, *(answer.sample.columns.get(column) for column in columns))
        groups[key] &= answer.score == 1.0
    return sum(groups.values()) / len(groups)


def figures_of(scored: Sequence[Scored], weights: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Name -> the weighted sum of the scores."""
    scores = [answer.score for answer in scored]
    return {name: weighted(scores, each) for name, each in weights.items()}


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
    rows = [row for row in zip(scores, weights, clusters, strict=True) if row[1]]
    if not rows:
        return None
    of_clusters = _sums([weight for _, weight, _ in rows], [cluster for *_, cluster in rows])
    if len(of_clusters) == len(rows):
        return wilson(share, 1.0 / fsum(weight * weight for weight in weights))
    variance = clustered_variance(
        [weight * (score - share) for score, weight, _ in rows], [cluster for *_, cluster in rows]
    )
    if variance and 0.0 < share < 1.0:
        return wilson(share, share * (1.0 - share) / variance)
    return wilson(share, 1.0 / fsum(value * value for value in of_clusters))


def clustered_variance(errors: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """Of the sum of errors that err together within a cluster: Σ over clusters (Σ error)² · C / (C - 1).

    Returns:
        None of fewer than two clusters, which tell nothing of it.
    """
    sums = _sums(errors, clusters)
    return fsum(error * error for error in sums) * len(sums) / (len(sums) - 1) if len(sums) > 1 else None


def _sums(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """The sum of the values of each cluster."""
    sums: dict[Hashable, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += value
    return list(sums.values())
