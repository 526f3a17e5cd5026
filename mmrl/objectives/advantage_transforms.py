"""Pure functions of a step's groups and advantages to advantages.

`mmrl.recipe.advantage_transforms` has names and sources.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor

from mmrl.objectives.advantages import Advantages
from mmrl.objectives.scored import Groups
from mmrl.recipe import advantage_transforms as settings


def difficulty(groups: Groups, advantages: Advantages, own: settings.Difficulty) -> Advantages:
    """A x 4 scale q (1 - q)."""
    factors = []
    for group in groups:
        q = fmean(t.measured("advantage_transforms: difficulty") for t in group)
        factors.append(4 * own.scale * q * (1 - q))
    return [[advantage * factor for advantage in group] for group, factor in zip(advantages, factors, strict=True)]


def sign_scale(groups: Groups, advantages: Advantages, own: settings.SignScale) -> Advantages:
    """A factor for A > 0, and one for A < 0."""
    return _each(advantages, lambda a: torch.where(a > 0, own.positive * a, own.negative * a))


def success_scale(groups: Groups, advantages: Advantages, own: settings.SuccessScale) -> Advantages:
    """A < 0 times low + (1 - low) q^power."""
    scaled = []
    for group, own_advantages in zip(groups, advantages, strict=True):
        q = fmean(t.measured("advantage_transforms: success_scale") for t in group)
        factor = own.low + (1 - own.low) * q**own.power
        scaled += _each([own_advantages], lambda a, f=factor: torch.where(a < 0, f * a, a))  # type: ignore[misc]
    return scaled


def bound(groups: Groups, advantages: Advantages, own: settings.Bound) -> Advantages:
    """A within its bound."""
    return _each(advantages, lambda a: a.clamp(-own.bound, own.bound))


def whiten(groups: Groups, advantages: Advantages, own: settings.Whiten) -> Advantages:
    """(A - mean) / (std + epsilon) over the step; the deviation is unbiased (n - 1)."""
    everything = torch.cat([_vector(a) for group in advantages for a in group] or [torch.zeros(0)])
    if len(everything) < 2 or bool((everything == everything[0]).all()):
        return _each(advantages, torch.zeros_like)
    mean, std = everything.mean(), everything.std() + own.epsilon
    return _each(advantages, lambda a: (a - mean) / std)


def _vector(advantage: float | Tensor) -> Tensor:
    return torch.as_tensor(advantage, dtype=torch.float64).reshape(-1)


def _each(advantages: Advantages, change: Callable[[Tensor], Tensor]) -> Advantages:
    """Every advantage changed; of trajectories they stay numbers, of units vectors."""
    return [
        [change(a) if isinstance(a, Tensor) else float(change(_vector(a))[0]) for a in group] for group in advantages
    ]
