"""psi, the coefficient of each unit: ratio level x clip x likelihood weight.

Every function takes `log_probs_RU` (detached), `old_RU`, `advantage_RU` and the settings, and returns psi [R, U]; the
kernel multiplies by the advantage. Gradients equal those of the published losses. Adding one is a function and a line.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmrl.recipe.objective import Coefficient

# Ratios beyond e^20 are clipped far below this anyway; the bound keeps them finite.
MAX_LOG_RATIO = 20.0


def ratio(log_probs: Tensor, old: Tensor) -> Tensor:
    """pi / pi_old per unit."""
    return (log_probs - old).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def one(log_probs_RU: Tensor, old_RU: Tensor, advantage_RU: Tensor, settings: Coefficient) -> Tensor:
    """1: maximum likelihood, or REINFORCE on policy."""
    return torch.ones_like(log_probs_RU)


def ppo_clip(log_probs_RU: Tensor, old_RU: Tensor, advantage_RU: Tensor, settings: Coefficient) -> Tensor:
    """r where min(r A, clip(r) A) takes the unclipped branch, else 0 (PPO, arXiv 1707.06347).

    `low`/`high` may differ (clip-higher, DAPO); `dual` bounds A < 0 units at r > dual (arXiv 1912.09729).
    """
    r = ratio(log_probs_RU, old_RU)
    positive = advantage_RU >= 0
    kept = torch.where(positive, r <= 1 + settings.high, r >= 1 - settings.low)
    if settings.dual is not None:
        kept &= positive | (r <= settings.dual)
    return torch.where(kept, r, torch.zeros_like(r))


def dft(log_probs_RU: Tensor, old_RU: Tensor, advantage_RU: Tensor, settings: Coefficient) -> Tensor:
    """p (DFT, arXiv 2508.05629)."""
    return log_probs_RU.exp()


def chord_phi(log_probs_RU: Tensor, old_RU: Tensor, advantage_RU: Tensor, settings: Coefficient) -> Tensor:
    """p (1 - p) (CHORD-phi, arXiv 2508.11408)."""
    p = log_probs_RU.exp()
    return p * (1 - p)


def luffy(log_probs_RU: Tensor, old_RU: Tensor, advantage_RU: Tensor, settings: Coefficient) -> Tensor:
    """gamma p / (p + gamma)^2, the gradient of p / (p + gamma) in log p (LUFFY, arXiv 2504.14945)."""
    p = log_probs_RU.exp()
    return settings.gamma * p / (p + settings.gamma).square()


def cispo(log_probs_RU: Tensor, old_RU: Tensor, advantage_RU: Tensor, settings: Coefficient) -> Tensor:
    """sg(clip(r, 1 - low, 1 + high)): clipped units keep a gradient (CISPO, arXiv 2506.13585)."""
    return ratio(log_probs_RU, old_RU).clamp(1 - settings.low, 1 + settings.high)


COEFFICIENTS: dict[str, Callable[[Tensor, Tensor, Tensor, Coefficient], Tensor]] = {
    "one": one,
    "ppo_clip": ppo_clip,
    "dft": dft,
    "chord_phi": chord_phi,
    "luffy": luffy,
    "cispo": cispo,
}
