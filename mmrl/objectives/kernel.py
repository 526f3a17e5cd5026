"""The one loss of every method.

    L = - sum_s w_s (1/Z_s) sum_{i,u in s} m_iu sg[c_iu] log pi(u)  -  lambda_H (1/Z_H) sum_u H_u
    c = omega psi A - kappa

psi is the coefficient, omega the engine/trainer mismatch weight, kappa the in-loss KL. Z_s is known before the first
micro-batch, so splitting a step into micro-batches does not change its gradient. Loss values need not equal a paper's;
gradients do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmrl.objectives.coefficients import COEFFICIENTS, ratio
from mmrl.objectives.rows import Normaliser, Row, pad
from mmrl.objectives.settings import KL, Mismatch, Objective
from mmrl.types import Likelihood


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What is fixed for one optimizer step: each stream's weight and normaliser, and the entropy's denominator."""

    objective: Objective
    weights: Mapping[str, float]
    normalisers: Mapping[str, Normaliser]
    entropy_units: float


def loss(likelihood: Likelihood, rows: Sequence[Row], plan: StepPlan) -> tuple[Tensor, dict[str, float]]:
    """The differentiable loss of one micro-batch, and sums for the step's metrics.

    Args:
        likelihood: of `rows`, in order; gradients enabled. `entropy_RU` is needed when the objective has an entropy
            bonus, and only logged otherwise.
        rows: rows of one stream or several.

    Returns:
        A scalar to call backward on, summed (not averaged) over micro-batches by the caller, and unit sums: keys
        ending in `_sum` add up, keys ending in `_max` take the maximum.
    """
    log_probs, mask = likelihood.log_probs_RU, likelihood.mask_RU
    current = log_probs.detach()
    device, dtype, width = log_probs.device, log_probs.dtype, log_probs.shape[1]
    advantage = torch.tensor([row.advantage for row in rows], dtype=dtype, device=device)[:, None].expand_as(current)
    old = _field(rows, "old", current, width)
    coefficient = torch.zeros_like(current)
    scale = torch.zeros(len(rows), 1, dtype=dtype, device=device)
    for name, stream in plan.objective.streams.items():
        chosen = torch.tensor([row.stream == name for row in rows], device=device)[:, None]
        if not bool(chosen.any()):
            continue
        psi = COEFFICIENTS[stream.coefficient.kind](current, old, advantage, stream.coefficient)
        if name == "rl":
            psi = psi * mismatch_weight(old, _field(rows, "rollout", old, width), mask, plan.objective.mismatch)
        coefficient = torch.where(chosen, psi * advantage, coefficient)
        factors = [plan.weights[name] * plan.normalisers[name].scale(row) for row in rows]
        scale = torch.where(chosen, torch.tensor(factors, dtype=dtype, device=device)[:, None], scale)
    on_policy = torch.tensor([row.stream == "rl" for row in rows], device=device)[:, None] & mask
    if plan.objective.kl.weight:
        reference = _field(rows, "reference", current, width)
        coefficient = coefficient - on_policy * kl_coefficient(current, reference, plan.objective.kl)
    total = -(mask * scale * coefficient * log_probs).sum()
    if plan.objective.entropy and likelihood.entropy_RU is not None:
        total = total - plan.objective.entropy * (on_policy * likelihood.entropy_RU).sum() / plan.entropy_units
    return total, _sums(likelihood, rows, plan, old, advantage, on_policy)


def kl_coefficient(log_probs: Tensor, reference: Tensor, settings: KL) -> Tensor:
    """kappa: the gradient of weight x KL in log pi. k2: log pi - log ref; k3: 1 - ref / pi."""
    difference = log_probs - reference
    if settings.kind == "k2":
        return settings.weight * difference
    return settings.weight * (1 - ratio(reference, log_probs))


def mismatch_weight(old: Tensor, rollout: Tensor, mask: Tensor, settings: Mismatch) -> Tensor:
    """omega: corrects sampling under the engine's probabilities instead of the trainer's, per unit, detached.

    `truncate`: min(rho, cap) with rho = pi_old / pi_rollout (TIS); `mask`: 1 where 1/cap <= rho <= cap, else 0.
    """
    if settings.kind == "none":
        return torch.ones_like(old)
    rho = ratio(old, rollout)
    if settings.kind == "truncate":
        return rho.clamp(max=settings.cap)
    return ((rho <= settings.cap) & (rho >= 1 / settings.cap)).to(old.dtype)


def _field(rows: Sequence[Row], name: str, default: Tensor, width: int) -> Tensor:
    """A per-unit field of the rows as [R, U], `default` where a row has none."""
    values = [row.decision.log_probs if name == "rollout" else getattr(row, name) for row in rows]
    if all(value is None for value in values):
        return default
    known = torch.tensor([value is not None for value in values], device=default.device)[:, None]
    zero = torch.zeros(0, dtype=default.dtype)
    stacked = pad([zero if v is None else v.to(default.dtype).cpu() for v in values], width).to(default.device)
    return torch.where(known, stacked, default)


@torch.no_grad()
def _sums(likelihood, rows, plan, old, advantage, on_policy) -> dict[str, float]:
    """Sums over the units of this micro-batch, for logging."""
    current, mask, width = likelihood.log_probs_RU.detach(), likelihood.mask_RU, likelihood.mask_RU.shape[1]
    sums: dict[str, float] = {}
    for name in plan.objective.streams:
        chosen = torch.tensor([row.stream == name for row in rows], device=mask.device)[:, None] & mask
        sums[f"{name}_units_sum"] = float(chosen.sum())
        sums[f"{name}_nll_sum"] = float(-(current * chosen).sum())
    if not bool(on_policy.any()):
        return sums
    r = ratio(current, old)
    settings = plan.objective.streams["rl"].coefficient
    gap = (old - _field(rows, "rollout", old, width)).abs() * on_policy
    sums |= {
        "rl_ratio_sum": float((r * on_policy).sum()),
        "rl_ratio_max": float((r * on_policy).max()),
        "rl_clip_high_sum": float(((r > 1 + settings.high) & (advantage > 0) & on_policy).sum()),
        "rl_clip_low_sum": float(((r < 1 - settings.low) & (advantage < 0) & on_policy).sum()),
        "rl_gap_sum": float(gap.sum()),
        "rl_gap_max": float(gap.max()),
    }
    if likelihood.entropy_RU is not None:
        sums["rl_entropy_sum"] = float((likelihood.entropy_RU.detach() * on_policy).sum())
    if plan.objective.kl.weight:
        difference = _field(rows, "reference", current, width) - current
        sums["rl_kl_sum"] = float(((difference.exp() - 1 - difference) * on_policy).sum())
    return sums
