"""Advantages of the whole rollout batch, computed before any sharding. `mmrl.recipe.advantages` has their names."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import fmean

import torch

from mmrl.contracts.errors import ConfigError, nearest
from mmrl.objectives.scored import Groups, Scored
from mmrl.objectives.stateful import Stateful, function_of
from mmrl.recipe.advantage_transforms import ADVANTAGE_TRANSFORMS
from mmrl.recipe.advantages import ADVANTAGES, GDPO, Best, Signed, Standard, Whitened
from mmrl.recipe.objective import Objective, Offline

# Of each trajectory of each group: one, or float64 [units] of each of its units.
Advantages = Sequence[Sequence[float | torch.Tensor]]


def weigh_groups(groups: Groups, objective: Objective, stateful: Stateful | None = None) -> Advantages:
    """The advantages of a step, after the objective's transforms of them."""
    own = objective.advantage
    advantages: Advantages = function_of("advantage", ADVANTAGES.get(own.kind).load(), stateful)(groups, own)
    for transform in objective.advantage_transforms.values():
        advantages = ADVANTAGE_TRANSFORMS.get(transform.kind).load()(groups, advantages, transform)
    return advantages


def standard(groups: Groups, own: Standard) -> list[list[float]]:
    """`group_advantages` of the rewards."""
    if own.baseline in ("plain_mean", "pool_mean"):
        return [
            _less(
                group, [t.reward for t in group if not t.contextual] if own.baseline == "plain_mean" else group[0].pool
            )
            for group in groups
        ]
    lengths = [[t.units for t in group] for group in groups]
    return group_advantages([[t.reward for t in group] for group in groups], own, lengths)


def group_advantages(
    rewards_PG: Sequence[Sequence[float]], settings: Standard, units_PG: Sequence[Sequence[int]] = ()
) -> list[list[float]]:
    """One advantage per trajectory, in float64.

    A group of one, and a group whose rewards are all equal, has advantage 0 under every group baseline: never the raw
    reward. `group_std` and `batch_std` are unbiased (n - 1).

    Args:
        rewards_PG: rewards of each group; groups may differ in size.
        units_PG: units of each trajectory, for the baseline that is weighted by them.

    Raises:
        ValueError: a reward that is not finite.
    """
    groups = [torch.tensor(list(rewards), dtype=torch.float64) for rewards in rewards_PG]
    if any(not isfinite(x) for group in groups for x in group.tolist()):
        raise ValueError("a reward is not finite")
    everything = torch.cat(groups) if groups else torch.empty(0, dtype=torch.float64)
    if settings.baseline == "length_mean":
        centred = [_centre_by_length(group, lengths) for group, lengths in zip(groups, units_PG, strict=True)]
    else:
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


def _less(group: Sequence[Scored], others: Sequence[float]) -> list[float]:
    """r_i minus the mean of other rewards; exactly 0 where all of them are equal.

    Raises:
        ConfigError: there are no others.
    """
    if not others:
        raise ConfigError(
            "objective.advantage.baseline: a group has none of the answers that the baseline is a mean of"
        )
    if len({t.reward for t in group} | set(others)) == 1:
        return [0.0] * len(group)
    mean = fmean(others)
    return [t.reward - mean for t in group]


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


def _centre_by_length(group: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """r_i - sum_j l_j r_j / sum_j l_j."""
    if len(group) == 1 or bool((group == group[0]).all()):
        return torch.zeros_like(group)
    weights = torch.tensor(lengths, dtype=torch.float64)
    return group - (weights * group).sum() / weights.sum().clamp(min=1)


def whitened(groups: Groups, own: Whitened) -> list[list[torch.Tensor]]:
    """What is still to come of the reward at each unit, minus the group's mean reward, whitened over all units.

    (R - mean) / sqrt(var + epsilon) over the step's units, var unbiased (n - 1); 0 where all are equal.
    """
    returns = []
    for group in groups:
        baseline = sum(t.reward for t in group) / len(group) if own.baseline == "group_mean" else 0.0
        if own.baseline == "group_mean" and (len(group) == 1 or len({t.reward for t in group}) == 1):
            # Exactly 0, not the rounding residue of a mean.
            returns.append([_to_come(t) - t.reward for t in group])
        else:
            returns.append([_to_come(t) - baseline for t in group])
    everything = torch.cat([r for group in returns for r in group]) if returns else torch.empty(0)
    if len(everything) < 2 or bool((everything == everything[0]).all()):
        return [[torch.zeros_like(r) for r in group] for group in returns]
    mean, std = everything.mean(), (everything.var() + own.epsilon).sqrt()
    return [[(r - mean) / std for r in group] for group in returns]


def best(groups: Groups, own: Best) -> list[list[float]]:
    """The group's size for the first of its best answers, else 0."""
    advantages = []
    for group in groups:
        first = max(range(len(group)), key=lambda i: (group[i].reward, -i))
        advantages.append([float(len(group)) if i == first else 0.0 for i in range(len(group))])
    return advantages


def signed(groups: Groups, own: Signed) -> list[list[float]]:
    """The group's weight, its sign by whether an answer is right.

    Raises:
        ConfigError: an answer whose accuracy nothing has measured.
    """
    advantages = []
    for group in groups:
        right = [t.measured("advantage: signed") >= own.threshold for t in group]
        q = sum(right) / len(group)
        if q in (0.0, 1.0):
            advantages.append([0.0] * len(group))
            continue
        weight = {"failure": 1 - q, "odds": ((1 - q) / q) ** 0.5, "one": 1.0}[own.weight]
        advantages.append([weight if solved else -weight for solved in right])
    return advantages


def _to_come(trajectory: Scored) -> torch.Tensor:
    """float64 [units]: the reward, without what KL takes off before each unit."""
    if trajectory.charges is None:
        return torch.full((trajectory.units,), trajectory.reward, dtype=torch.float64)
    charged = trajectory.charges.double()
    # `reward` is without all charges; those before a unit are behind it.
    return trajectory.reward + charged.cumsum(0) - charged


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
