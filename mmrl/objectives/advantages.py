"""Advantages of the whole rollout batch, computed before any sharding. `mmrl.recipe.advantages` has their names."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch

from mmrl.contracts.errors import ConfigError, nearest
from mmrl.objectives.scored import Groups
from mmrl.recipe.advantages import GDPO, Standard
from mmrl.recipe.objective import Offline


def standard(groups: Groups, own: Standard) -> list[list[float]]:
    """`group_advantages` of the rewards."""
    return group_advantages([[t.reward for t in group] for group in groups], own)


def group_advantages(rewards_PG: Sequence[Sequence[float]], settings: Standard) -> list[list[float]]:
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


def gdpo(groups: Groups, own: GDPO) -> list[list[float]]:
    """Per-reward group-standardised parts, weighted, summed, and divided by the batch's deviation.

    A part that is None, or that is alone in its group or equal all over it, adds 0. The sum's mean over the batch is 0,
    as it is over each group. Deviations are unbiased (n - 1).

    Raises:
        ConfigError: a weighted reward that no trajectory has as a part.
    """
    sums = [torch.zeros(len(group), dtype=torch.float64) for group in groups]
    known = {name for group in groups for t in group for name in t.parts}
    for name, weight in own.weights.items():
        if known and name not in known:
            raise ConfigError(
                f"objective.advantage.weights.{name}: no trajectory has this reward.{nearest(name, known)} "
                f"Allowed: {', '.join(sorted(known))}"
            )
        for group, total in zip(groups, sums):
            scores = [(i, t.parts[name]) for i, t in enumerate(group) if t.parts.get(name) is not None]
            values = torch.tensor([score for _, score in scores], dtype=torch.float64)
            if len(values) > 1 and not bool((values == values[0]).all()):
                total[[i for i, _ in scores]] += weight * (values - values.mean()) / (values.std() + own.epsilon)
    everything = torch.cat(sums) if sums else torch.empty(0, dtype=torch.float64)
    return [(total / (_std(everything) + own.epsilon)).tolist() for total in sums]


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
