"""Group-relative advantages, computed over the whole rollout batch before any sharding."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch

from mmrl.recipe.objective import Advantage, Offline, Overlong


def group_advantages(rewards_PG: Sequence[Sequence[float]], settings: Advantage) -> list[list[float]]:
    """One advantage per trajectory, in float64.

    A group of one, and a group whose rewards are all equal, has advantage 0 under every group baseline: never the raw
    reward. `group_std` and `batch_std` are unbiased (n - 1).

    Args:
        rewards_PG: rewards of each group; groups may differ in size.

    Raises:
        ValueError: a reward that is not finite.
    """
    groups = [torch.tensor(list(rewards), dtype=torch.float64) for rewards in rewards_PG]
    if any(not isfinite(x) for group in groups for x in group.tolist()):
        raise ValueError("a reward is not finite")
    everything = torch.cat(groups) if groups else torch.empty(0, dtype=torch.float64)
    centred = [_centre(group, everything, settings.baseline) for group in groups]
    if settings.scale == "group_std":
        centred = [c / (_std(g) + settings.epsilon) for c, g in zip(centred, groups)]
    elif settings.scale == "batch_std":
        centred = [c / (_std(everything) + settings.epsilon) for c in centred]
    return [c.tolist() for c in centred]


def _centre(group: torch.Tensor, everything: torch.Tensor, baseline: str) -> torch.Tensor:
    if baseline == "none":
        return group
    if baseline == "batch_mean":
        return group - everything.mean()
    # Exactly 0, not a rounding residue that a tiny std would blow up.
    if len(group) == 1 or bool((group == group[0]).all()):
        return torch.zeros_like(group)
    centred = group - group.mean()
    # r_i - mean of the others = (r_i - mean) n / (n - 1)
    return centred * len(group) / (len(group) - 1) if baseline == "leave_one_out" else centred


def _std(values: torch.Tensor) -> torch.Tensor:
    return values.std() if len(values) > 1 else torch.zeros((), dtype=values.dtype)


def demonstration_weights(advantages: torch.Tensor, settings: Offline) -> torch.Tensor:
    """What actions of the data weigh in maximum likelihood, of the shape of their advantages.

    `exp`: min(exp(A / temperature), cap) (AWR, arXiv 1910.00177); `positive`: 1 where A > 0, else 0 (the binary form of
    CRR, arXiv 2006.15134).
    """
    if settings.weight == "positive":
        return (advantages > 0).to(advantages.dtype)
    return (advantages / settings.temperature).exp().clamp(max=settings.cap)


def overlong_penalty(units: int, limit: int, settings: Overlong) -> float:
    """DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13), in [-weight, 0].

    0 up to `limit - cache` units, then linearly down to -1 at `limit`.
    """
    excess = units - (limit - settings.cache)
    return -settings.weight * min(1.0, max(0.0, excess / settings.cache))
