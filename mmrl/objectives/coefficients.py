"""psi, the coefficient of each unit, multiplied by the advantage in the kernel.

Every function takes `Units` and its settings and returns psi [R, U]. Gradients equal those of the published losses.
`mmrl.recipe.coefficients` has the names, parameters and sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmrl.objectives.seen import Seen
from mmrl.recipe import coefficients as settings
from mmrl.recipe.parts import PartSettings

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
        behaviour_RU: of each unit under what sampled it, the engine's or those of the data; `old` where unknown.
        success_R1: the mean accuracy of the row's group; NaN where nothing has measured it.
        given_RK: what the part's own `prepare` made of the whole optimizer step for each row; K = 0 without one.
        others: [R, U] of each unit under other policies, by their names (`PartSettings.compared_with`).
    """

    log_probs_RU: Tensor
    old_RU: Tensor
    advantage_RU: Tensor
    mask_RU: Tensor
    behaviour_RU: Tensor | None = None
    success_R1: Tensor | None = None
    given_RK: Tensor | None = None
    others: Mapping[str, Tensor] = field(default_factory=dict)

    def under(self, name: str) -> Tensor:
        """[R, U] log-probs under another policy. Raises ValueError where the units were not scored by it."""
        if name not in self.others:
            raise ValueError(f"units were not scored by '{name}'")
        return self.others[name]

    @property
    def ratio_RU(self) -> Tensor:
        """r = pi / pi_old."""
        return ratio(self.log_probs_RU, self.old_RU)

    def prepared(self, own: PartSettings) -> Tensor:
        """`given_RK`. Raises ValueError where the part's `prepare` was not asked."""
        if self.given_RK is None:
            raise ValueError(f"{own.kind} was not prepared for this optimizer step")
        return self.given_RK


def ratio(log_probs: Tensor, old: Tensor) -> Tensor:
    """pi / pi_old per unit."""
    return (log_probs - old).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def at_level(log_probs_RU: Tensor, mask_RU: Tensor, level: str) -> Tensor:
    """The log-probs whose ratio counts: each unit's, the sum over its row (`decision`), or the mean (`mean`: GSPO).

    A row's sum or mean stands at each of its units: d exp(sum)/d log pi(u) is the ratio itself.
    """
    if level == "unit":
        return log_probs_RU
    total = (log_probs_RU * mask_RU).sum(1, keepdim=True)  # [R, 1]
    if level == "mean":
        total = total / mask_RU.sum(1, keepdim=True).clamp(min=1)
    return total.expand_as(log_probs_RU)


def one(units: Units, own: settings.CoefficientSettings) -> Tensor:
    """1."""
    return torch.ones_like(units.log_probs_RU)


def ppo_clip(units: Units, own: settings.PPOClip) -> Tensor:
    """r where min(r A, clip(r) A) takes the unclipped branch, else 0."""
    return _unclipped(units.ratio_RU, units, own)


def anchored_clip(units: Units, own: settings.AnchoredClip) -> Tensor:
    """As `ppo_clip`, of the ratio to pi_old^(1 - share) pi_T^share."""
    other = at_level(units.under(own.to), units.mask_RU, own.level)
    return _unclipped(ratio(units.log_probs_RU, units.old_RU.lerp(other, own.share)), units, own)


def _unclipped(r: Tensor, units: Units, own: settings.PPOClip) -> Tensor:
    positive = units.advantage_RU >= 0
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


def f_alpha(units: Units, own: settings.FAlpha) -> Tensor:
    """p^alpha, the gradient of (p^alpha - 1) / alpha in log p."""
    return (own.alpha * units.log_probs_RU).exp()


def minpro(units: Units, own: settings.Clip) -> Tensor:
    """clip(r_t min_{j<t} r_j, 1 - low, 1 + high); the first unit has no prefix, and its minimum is 1."""
    log_r = units.log_probs_RU - units.old_RU
    least = log_r.cummin(1).values
    # Of the units before: a place further on, and log 1 in front.
    before = torch.cat([torch.zeros_like(log_r[:, :1]), least[:, :-1]], 1)
    product = (log_r + before).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    return product.clamp(1 - own.low, 1 + own.high)


def nft(units: Units, own: settings.NFT) -> Tensor:
    """1 where A > 0; else R- = q r / (1 - q) over max((1 - q r) / (1 - q), floor), q the group's success rate.

    The clamp is straight-through: its value stands in the denominator, and the gradient passes.
    """
    r = units.ratio_RU
    q = units.success_R1.clamp(own.success_low, own.success_high)
    negative = (1 - q * r) / (1 - q)
    pull = own.negative * (q * r / (1 - q)) / negative.clamp(min=own.floor)
    return torch.where(units.advantage_RU > 0, torch.ones_like(r), pull)


def bapo(units: Units, own: settings.BAPO) -> Tensor:
    """r where min(r A, clip(r, c_low, c_high) A) takes the unclipped branch, else 0."""
    bounds_RK = units.prepared(own)
    r, positive = units.ratio_RU, units.advantage_RU >= 0
    low, high = bounds_RK[:, :1], bounds_RK[:, 1:2]
    unclipped = torch.where(positive, r <= high, r >= low)
    if own.dual is not None:
        unclipped &= positive | (r <= own.dual)
    return torch.where(unclipped, r, torch.zeros_like(r))


def choose_bounds(rows: Sequence[Seen], own: settings.BAPO) -> list[Tensor]:
    """(c_low, c_high) of the optimizer step, the same for every row."""
    r = torch.cat([ratio(row.log_probs_U, row.old_U) for row in rows])
    advantages = [torch.as_tensor(row.advantage, dtype=r.dtype).expand_as(row.log_probs_U) for row in rows]
    advantage = torch.cat(advantages)
    low, high = own.low, own.high

    def reached() -> bool:
        push = torch.where(advantage >= 0, r.clamp(max=high), r.clamp(min=low)) * advantage
        return float(push.clamp(min=0).sum()) >= own.target * float(-push.clamp(max=0).sum())

    while not reached() and low < own.low_most:
        low = min(low + own.low_step, own.low_most)
    while not reached() and high < own.high_most:
        high = min(high + own.high_step, own.high_most)
    return [torch.tensor([low, high], dtype=r.dtype)] * len(rows)


def rl_plus(units: Units, own: settings.RLPlus) -> Tensor:
    """r_m (1 - p)^gamma with r_m = 2 p / (p_old + (p_old + 1) / 2), of units that the policy did not sample."""
    p, old = units.log_probs_RU.exp(), units.old_RU.exp()
    return 2 * p / (old + 0.5 * (old + 1)) * (1 - p).clamp(min=0).pow(own.gamma)


def rehearsal(units: Units, own: settings.Rehearsal) -> Tensor:
    """-u f'(u) with u = p / q, q the policy that wrote the row."""
    u = ratio(units.log_probs_RU, units.under(own.to))
    if own.form == "forward":
        return 1 - u
    if own.form == "js":
        return u * ((u + 1) / (2 * u)).log()
    return (u ** (1 - own.alpha) - u) / own.alpha


def pear(units: Units, own: settings.PEAR) -> Tensor:
    """clip(gamma^(T - t) prod_{j > t} pi(j) / pi_b(j)), or the product over the whole row."""
    log_ratio = (units.log_probs_RU - units.under(own.to)).clamp(own.log_low, own.log_high) * units.mask_RU
    if own.form == "sequence":
        log_weight = log_ratio.sum(1, keepdim=True).expand_as(log_ratio)
    else:
        # Sums from the end, without the unit itself; and how many units are behind it.
        behind = log_ratio.flip(1).cumsum(1).flip(1) - log_ratio
        left = units.mask_RU.sum(1, keepdim=True) - units.mask_RU.cumsum(1)
        log_weight = behind + left.to(behind.dtype) * math.log(own.gamma)
    return log_weight.exp().clamp(own.low, own.high)
