"""Measures of an order: two sequences of the same distinct items."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence


def _ranks(order: Sequence[Hashable], target: Sequence[Hashable]) -> list[int]:
    place = {item: rank for rank, item in enumerate(target)}
    if len(place) != len(target) or len(order) != len(target) or set(order) != place.keys():
        raise ValueError("the order and its target are not the same distinct items")
    return [place[item] for item in order]


def pairwise_order_accuracy(order: Sequence[Hashable], target: Sequence[Hashable]) -> float:
    """The share of the n(n−1)/2 pairs that stand in the target's order; 1 for fewer than two items.

    A random order has 1/2 on average, the reversed one 0.

    Raises:
        ValueError: the two are not the same distinct items.
    """
    ranks = _ranks(order, target)
    pairs = len(ranks) * (len(ranks) - 1) // 2
    earlier_ranks: list[int] = []
    concordant = 0
    for rank in ranks:
        concordant += bisect_left(earlier_ranks, rank)
        insort(earlier_ranks, rank)
    return concordant / pairs if pairs else 1.0


def kendall_tau(order: Sequence[Hashable], target: Sequence[Hashable]) -> float:
    """Kendall's τ of an order without ties, in [-1, 1]: 2 · `pairwise_order_accuracy` − 1, and 1 for one item.

    Equal to scipy.stats.kendalltau of the two rankings.

    Raises:
        ValueError: the two are not the same distinct items.
    """
    return 2.0 * pairwise_order_accuracy(order, target) - 1.0


def position_accuracy(order: Sequence[Hashable], target: Sequence[Hashable]) -> float:
    """The share of positions that hold the target's item; of the same length, repeats allowed.

    Raises:
        ValueError: the lengths differ, or there are no positions.
    """
    if not target or len(order) != len(target):
        raise ValueError(f"position_accuracy: {len(order)} items for {len(target)} positions")
    return sum(item == expected for item, expected in zip(order, target)) / len(target)
