"""psi, the coefficient of each unit, multiplied by the advantage in the kernel.

Every function takes `Units` and its settings and returns psi [R, U]. Gradients equal those of the published losses.
`mmrl.recipe.coefficients` has the names, parameters and sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmrl.recipe import coefficients as settings

# Ratios beyond e^20 are clipped far below this anyway; the bound keeps them finite.
MAX_LOG_RATIO = 20.0


@dataclass(frozen=True, slots=True)
class Units:
    """What a coefficient sees of the units of a micro-batch, all detached.

    Attributes:
        log_probs_RU: under the current policy: of each unit, or its decision's at each of its units (`level`).
        old_RU: the same under the policy that made the rollouts.
        advantage_RU: A.
        mask_RU: bool, true on real units.
    """

    log_probs_RU: Tensor
    old_RU: Tensor
    advantage_RU: Tensor
    mask_RU: Tensor

    @property
    def ratio_RU(self) -> Tensor:
        """r = pi / pi_old."""
        return ratio(self.log_probs_RU, self.old_RU)


def ratio(log_probs: Tensor, old: Tensor) -> Tensor:
    """pi / pi_old per unit."""
    return (log_probs - old).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def one(units: Units, own: settings.CoefficientSettings) -> Tensor:
    """1."""
    return torch.ones_like(units.log_probs_RU)


def ppo_clip(units: Units, own: settings.PPOClip) -> Tensor:
    """r where min(r A, clip(r) A) takes the unclipped branch, else 0."""
    r, positive = units.ratio_RU, units.advantage_RU >= 0
    unclipped = torch.where(positive, r <= 1 + own.high, r >= 1 - own.low)
    if own.dual is not None:
        unclipped &= positive | (r <= own.dual)
    return torch.where(unclipped, r, torch.zeros_like(r))


def dft(units: Units, own: settings.OfLevel) -> Tensor:
    """p."""
    return units.log_probs_RU.exp()


def chord_phi(units: Units, own: settings.OfLevel) -> Tensor:
    """p (1 - p)."""
    p = units.log_probs_RU.exp()
    return p * (1 - p)


def luffy(units: Units, own: settings.Luffy) -> Tensor:
    """gamma p / (p + gamma)^2."""
    p = units.log_probs_RU.exp()
    return own.gamma * p / (p + own.gamma).square()


def cispo(units: Units, own: settings.Clip) -> Tensor:
    """clip(r, 1 - low, 1 + high)."""
    return units.ratio_RU.clamp(1 - own.low, 1 + own.high)


def gmpo(units: Units, own: settings.GMPO) -> Tensor:
    """(prod_t r'_t)^(1/T) where the unit's own ratio is not bounded, else 0.

    log r' = min(log r, range) for A > 0 and max(log r, -range) for A < 0; T counts the decision's units.
    """
    log_r = units.log_probs_RU - units.old_RU
    positive = units.advantage_RU > 0
    bounded = torch.where(positive, log_r.clamp(max=own.log_range), log_r.clamp(min=-own.log_range))
    # [R, 1]: one geometric mean per row.
    count = units.mask_RU.sum(1, keepdim=True).clamp(min=1)
    mean = ((bounded * units.mask_RU).sum(1, keepdim=True) / count).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    return torch.where(bounded == log_r, mean, torch.zeros_like(log_r))


def sapo(units: Units, own: settings.SAPO) -> Tensor:
    """f'(r) r of the gate f(r) = 4 / tau sigmoid(tau (r - 1))."""
    r = units.ratio_RU
    tau = torch.where(units.advantage_RU > 0, own.positive, torch.full_like(r, own.negative))
    gate = torch.sigmoid(tau * (r - 1))
    return 4 * gate * (1 - gate) * r


def importance(units: Units, own: settings.OfLevel) -> Tensor:
    """r."""
    return units.ratio_RU
