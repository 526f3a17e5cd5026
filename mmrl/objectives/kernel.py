"""The one loss of every method.

    L = - sum_s w_s (1/Z_s) sum_{i,u in s} m_iu sg[c_iu] log pi(u)  -  lambda_H (1/Z_H) sum_u H_u
        + lambda_V (1/Z_V) sum_j huber(V_j - target_j)  +  sum_k lambda_k (1/Z_k) sum_u X_ku
    c = omega psi A - kappa

psi is the coefficient, omega the engine/trainer mismatch weight, kappa the in-loss KL, X_k an auxiliary term. Z_s is
known before the first micro-batch, so splitting a step into micro-batches does not change its gradient. Loss values
need not equal a paper's; gradients do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from mmrl.contracts.types import Likelihood
from mmrl.objectives.auxiliary_terms import TermUnits
from mmrl.objectives.coefficients import Units, at_level, ratio
from mmrl.objectives.kl import estimate_kl, kl_coefficient
from mmrl.objectives.preparing import COEFFICIENT
from mmrl.objectives.rows import Normaliser, Row, learned_mask, pad
from mmrl.recipe.auxiliary_terms import AUXILIARY_TERMS
from mmrl.recipe.coefficients import COEFFICIENTS
from mmrl.recipe.companions import REFERENCE
from mmrl.recipe.objective import Mismatch, Objective, ValueLoss
from mmrl.recipe.streams import Stream
from mmrl.recipe.unit_weights import UNIT_WEIGHTS


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What is fixed for one optimizer step: each stream's weight and normaliser, and the terms' denominators."""

    objective: Objective
    weights: Mapping[str, float]
    normalisers: Mapping[str, Normaliser]
    entropy_units: float
    value_targets: float = 1.0
    term_units: Mapping[str, float] = field(default_factory=dict)


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
    likelihood = replace(likelihood, mask_RU=learned_mask(rows, likelihood.mask_RU))
    log_probs, mask = likelihood.log_probs_RU, likelihood.mask_RU
    current = log_probs.detach()  # what coefficients read; the graph stays in `log_probs` alone
    device, dtype, width = log_probs.device, log_probs.dtype, log_probs.shape[1]
    advantage = _stack_advantages(rows, current)
    old = _stack_field(rows, "old", current, width)
    rollout = _stack_field(rows, "rollout", old, width)
    # What every part reads, at the unit level; `given_RK` is each part's own.
    success = _stack_success(rows, current)
    shared = Units(current, old, advantage, mask, rollout, success, others=_stack_others(rows, plan.objective, current))
    coefficient = torch.zeros_like(current)  # [R, U]
    scale = torch.zeros(len(rows), 1, dtype=dtype, device=device)  # [R, 1]: w_s / Z_s of each row's stream
    for name, stream in plan.objective.streams.items():
        chosen = _mark_rows(rows, {name}, device)  # [R, 1]
        if not bool(chosen.any()):
            continue
        # [R, U] each; above the unit level every unit of a row holds the row's one value.
        now, before = (at_level(x, mask, stream.coefficient.ratio_level()) for x in (current, old))
        part = COEFFICIENTS.get(stream.coefficient.kind)
        given = _stack_given(rows, COEFFICIENT, current)
        psi = part.load()(replace(shared, log_probs_RU=now, old_RU=before, given_RK=given), stream.coefficient)
        if "mismatch" in stream.terms:
            psi = psi * mismatch_weight(old, rollout, mask, plan.objective.mismatch)
        for key, own in stream.weights.items():
            units = replace(shared, given_RK=_stack_given(rows, key, current))
            psi = psi * UNIT_WEIGHTS.get(own.kind).load()(units, own)
        # psi is computed for all rows, in their order, and written to this stream's: `where` keeps what another row's
        # psi may hold, an infinity too, out of the sum.
        coefficient = torch.where(chosen, psi if part.whole else psi * advantage, coefficient)
        factors = [plan.weights[name] * plan.normalisers[name].scale(row) for row in rows]
        scale = torch.where(chosen, torch.tensor(factors, dtype=dtype, device=device)[:, None], scale)
    if plan.objective.kl.in_loss:
        under_kl = _mark_rows(rows, plan.objective.under("kl"), device) & mask  # [R, U]
        reference = _stack([row.under(plan.objective.kl.to) for row in rows], current, width)
        coefficient = coefficient - under_kl * kl_coefficient(current, reference, old, plan.objective.kl)
    # sg[c] log pi: the only factor with a gradient is `log_probs`.
    total = -(mask * scale * coefficient * log_probs).sum()
    if plan.objective.entropy and likelihood.entropy_RU is not None:
        under_entropy = _mark_rows(rows, plan.objective.under("entropy"), device) & mask
        total = total - plan.objective.entropy * (under_entropy * likelihood.entropy_RU).sum() / plan.entropy_units
    sums = _sum_figures(likelihood, rows, plan, old, advantage)
    if plan.objective.auxiliary_terms:
        terms, term_sums = auxiliary_terms(rows, plan, TermUnits(likelihood, old, advantage))
        total, sums = total + terms, sums | term_sums
    if plan.objective.value is not None and any(row.targets is not None for row in rows):
        value, value_sums = value_loss(likelihood.value_RV, rows, plan.objective.value)
        total, sums = total + plan.objective.value.weight * value / plan.value_targets, sums | value_sums
    return total, sums


def auxiliary_terms(rows: Sequence[Row], plan: StepPlan, units: TermUnits) -> tuple[Tensor, dict[str, float]]:
    """sum_k lambda_k (1/Z_k) sum_u X_ku over the units of each term's streams; Z_k counts them over the whole step."""
    mask, total, sums = units.likelihood.mask_RU, units.likelihood.log_probs_RU.new_zeros(()), {}
    for name, own in plan.objective.auxiliary_terms.items():
        chosen = _mark_rows(rows, plan.objective.term_streams(name), mask.device) & mask  # [R, U]
        if bool(chosen.any()):
            # where, not a product: X of a unit outside may be infinite.
            term = torch.where(chosen, AUXILIARY_TERMS.get(own.kind).load()(units, own), 0.0).sum()
            total = total + own.weight * term / plan.term_units[name]
            sums[f"term_{name}_sum"] = float(term.detach())
            sums[f"term_{name}_units_sum"] = float(chosen.sum())
    return total, sums


def value_loss(value_RV: Tensor, rows: Sequence[Row], settings: ValueLoss) -> tuple[Tensor, dict[str, float]]:
    """Sum over the targets of max(huber(V - target), huber(clip(V) - target)), clip(V) within `clip` of the old value.

    Source: PPO2's clipped value loss (OpenAI baselines), with RLinf's Huber form for the square.
    """
    predicted, old, target = [], [], []
    for value_V, row in zip(value_RV, rows):
        if row.targets is not None:
            predicted.append(value_V[: len(row.targets)])
            old.append(row.values[: len(row.targets)])
            target.append(row.targets)
    value = torch.cat(predicted)  # [steps]: row after row, each as many as its targets
    old_value, goal = (torch.cat(x).to(value.device, value.dtype) for x in (old, target))

    def huber(x: Tensor) -> Tensor:
        return functional.huber_loss(x, goal, reduction="none", delta=settings.huber)

    losses = huber(value)
    if settings.clip is not None:
        near = old_value + (value - old_value).clamp(-settings.clip, settings.clip)
        losses = torch.maximum(losses, huber(near))
    sums = {
        "value_loss_sum": float(losses.detach().sum()),
        "value_sum": float(old_value.sum()),
        "value_target_sum": float(goal.sum()),
        "value_target_square_sum": float(goal.square().sum()),
        "value_error_square_sum": float((goal - old_value).square().sum()),
        "value_count_sum": float(len(goal)),
    }
    return losses.sum(), sums


def _mark_rows(rows: Sequence[Row], streams: Collection[str], device: torch.device) -> Tensor:
    """Which rows are of these streams: bool [R, 1]."""
    return torch.tensor([row.stream in streams for row in rows], device=device)[:, None]


def _stack_advantages(rows: Sequence[Row], like: Tensor) -> Tensor:
    """Each unit's advantage, [R, U]."""
    out = torch.zeros_like(like)
    for i, row in enumerate(rows):
        if isinstance(row.advantage, Tensor):
            # One per unit: a critic's, of the action that the unit belongs to.
            out[i, : row.units] = row.advantage.to(out.device, out.dtype)
        else:
            out[i] = row.advantage
    return out


def _stack_success(rows: Sequence[Row], like: Tensor) -> Tensor:
    """The mean accuracy of each row's group, [R, 1]; NaN where nothing has measured it."""
    values = [float("nan") if row.success is None else row.success for row in rows]
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def _stack_given(rows: Sequence[Row], key: str, like: Tensor) -> Tensor | None:
    """What a part's `prepare` gave each row, [R, K], 0 behind shorter ones and for other streams' rows."""
    if not any(key in row.given for row in rows):
        return None
    vectors = [row.given.get(key, like.new_zeros(0)).to(like.dtype).cpu() for row in rows]
    return pad(vectors, max(len(vector) for vector in vectors)).to(like.device)


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


def _stack_field(rows: Sequence[Row], name: str, default: Tensor, width: int) -> Tensor:
    """A per-unit field of the rows as [R, U], `default` where a row has none."""
    return _stack([row.decision.log_probs if name == "rollout" else getattr(row, name) for row in rows], default, width)


def _stack_others(rows: Sequence[Row], objective: Objective, like: Tensor) -> dict[str, Tensor]:
    """[R, U] of what each other policy says that a part reads, the current log-probs in rows of streams without it.

    Raises ValueError where a companion did not score a row that is compared with it.
    """
    for row in rows:
        for name in objective.compared_with(row.stream) - {REFERENCE}:
            if row.under(name) is None:
                raise ValueError(f"a row of stream '{row.stream}' was not scored by companion '{name}'")
    names = {name for stream in objective.streams for name in objective.compared_with(stream)}
    return {name: _stack([row.under(name) for row in rows], like, like.shape[1]) for name in sorted(names)}


def _stack(values: Sequence[Tensor | None], default: Tensor, width: int) -> Tensor:
    """One vector for each row as [R, U], `default` where a row has none."""
    if all(value is None for value in values):
        return default
    known = torch.tensor([value is not None for value in values], device=default.device)[:, None]
    zero = torch.zeros(0, dtype=default.dtype)
    # The rows' tensors differ in length and may be None: [R, U] is filled on the CPU and moved once.
    stacked = pad([zero if v is None else v.to(default.dtype).cpu() for v in values], width).to(default.device)
    return torch.where(known, stacked, default)


@torch.no_grad()
def _sum_figures(likelihood: Likelihood, rows: Sequence[Row], plan: StepPlan, old: Tensor, advantage: Tensor) -> dict:
    """Sums over the units of this micro-batch, for logging: of every stream, and more of those with rollouts."""
    current, mask = likelihood.log_probs_RU.detach(), likelihood.mask_RU
    sums: dict[str, float] = {}
    for name, stream in plan.objective.streams.items():
        chosen = _mark_rows(rows, {name}, mask.device) & mask
        sums[f"{name}_units_sum"] = float(chosen.sum())
        sums[f"{name}_nll_sum"] = float(-(current * chosen).sum())
        if stream.origin == "demonstrations" and plan.objective.offline is not None:
            for key, of in (("weight", advantage), ("square", advantage.square()), ("units", torch.ones_like(current))):
                sums[f"offline_{key}_sum"] = sums.get(f"offline_{key}_sum", 0.0) + float((of * chosen).sum())
        if stream.sampled and bool(chosen.any()):
            described = _sum_stream_figures(likelihood, rows, plan, stream, old, advantage, chosen)
            sums |= {f"{name}_{key}": value for key, value in described.items()}
    return sums


def _sum_stream_figures(
    likelihood: Likelihood,
    rows: Sequence[Row],
    plan: StepPlan,
    stream: Stream,
    old: Tensor,
    advantage: Tensor,
    chosen_RU: Tensor,
) -> dict[str, float]:
    """Ratio, clip shares, engine gap, entropy and KL of one stream's units."""
    current, mask, width = likelihood.log_probs_RU.detach(), likelihood.mask_RU, likelihood.mask_RU.shape[1]
    level, bounds = stream.coefficient.ratio_level(), stream.coefficient.bounds()
    r = ratio(at_level(current, mask, level), at_level(old, mask, level))
    gap = (old - _stack_field(rows, "rollout", old, width)).abs() * chosen_RU
    sums = {
        "ratio_sum": float((r * chosen_RU).sum()),
        "ratio_max": float((r * chosen_RU).max()),
        "gap_sum": float(gap.sum()),
        "gap_max": float(gap.max()),
    }
    if bounds is not None:
        sums["clip_low_sum"] = float(((r < bounds[0]) & (advantage < 0) & chosen_RU).sum())
        sums["clip_high_sum"] = float(((r > bounds[1]) & (advantage > 0) & chosen_RU).sum())
    if likelihood.entropy_RU is not None:
        sums["entropy_sum"] = float((likelihood.entropy_RU.detach() * chosen_RU).sum())
    if plan.objective.kl.weight and "kl" in stream.terms:
        reference = _stack([row.under(plan.objective.kl.to) for row in rows], current, width)
        sums["kl_sum"] = float((estimate_kl(current, reference, "k3") * chosen_RU).sum())
    return sums
