"""Which answers of a larger pool are learned from, and when there are enough to choose from."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.contracts.types import Trajectory
from mmrl.recipe.rollout import Pool


def enough(sampled: Sequence[Trajectory], n: int, pool: Pool) -> bool:
    """Whether n answers with the signal that was asked for can be chosen."""
    right = sum(t.measured() >= 1.0 for t in sampled)
    return len(sampled) >= n and right >= pool.right and len(sampled) - right >= pool.wrong


def chosen(sampled: Sequence[Trajectory], n: int, keep: str) -> tuple[Trajectory, ...]:
    """n of the answers, in the order in which they were sampled.

    Args:
        keep: see `Pool.keep`.
    """
    places = range(len(sampled))
    if keep == "extremes":
        order = sorted(places, key=lambda i: float(sampled[i].reward or 0.0))
        low = n // 2
        kept = [*order[:low], *order[len(order) - (n - low) :]]
    else:
        right = [i for i in places if sampled[i].measured() >= 1.0]
        wrong = [i for i in places if sampled[i].measured() < 1.0]
        # What one side lacks, the other gives.
        from_right = min(len(right), max(n - n // 2, n - len(wrong)))
        kept = [*right[:from_right], *wrong[: n - from_right]]
    return tuple(sampled[i] for i in sorted(kept))
