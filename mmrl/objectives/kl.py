"""KL to another policy from sampled units, as an estimate and as its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from mmrl.objectives.coefficients import ratio
from mmrl.recipe.kl import KL


def estimate_kl(log_probs: Tensor, reference: Tensor, kind: str) -> Tensor:
    """X of each unit, with d = log pi - log ref: `k1` d, `k2` d^2 / 2, `k3` exp(-d) - 1 + d."""
    difference = log_probs - reference
    if kind == "k1":
        return difference
    if kind == "k2":
        return difference.square() / 2
    return ratio(reference, log_probs) - 1 + difference


def kl_coefficient(log_probs: Tensor, reference: Tensor, old: Tensor, settings: KL) -> Tensor:
    """kappa: the gradient of weight x X in log pi, or of weight x r X with r = pi / pi_old where it is ratio-weighted.

    The first is X', the second r (X + X'), which for k3 is r d: the gradient of the reverse KL, whoever sampled.
    """
    difference = log_probs - reference
    if settings.ratio_weighted:
        pull = {"k1": difference + 1, "k2": difference.square() / 2 + difference, "k3": difference}[settings.kind]
        return settings.weight * ratio(log_probs, old) * pull
    if settings.kind == "k1":
        return torch.full_like(difference, settings.weight)
    if settings.kind == "k2":
        return settings.weight * difference
    return settings.weight * (1 - ratio(reference, log_probs))
