"""The published losses of parts that any method takes: KL, entropy, importance weights, masks, advantage transforms.

Written as `benchmarks.methods.published` is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.methods.plain import Step
from benchmarks.methods.published import (
    LIMIT,
    Loss,
    centred,
    grpo,
    ratios,
    sequence_mean,
    standardised,
    surrogate,
    token_mean,
)


def scaled_by_success(s: Step) -> Tensor:
    """GRPO whose negative advantages weigh by 0.3 + 0.7 q^2, q the group's success rate."""
    b = s.answers
    a = standardised(b)
    for rows in b.by_group():
        q = b.accuracy[rows].mean()
        a[rows] = torch.where(a[rows] < 0, (0.3 + 0.7 * q.square()) * a[rows], a[rows])
    return -sequence_mean(surrogate(ratios(b), a[:, None]), b)


def kl_in_loss(kind: str, weighted: bool, beta: float) -> Loss:
    """GRPO plus beta KL to the reference, per token, estimated as `kind`; times the ratio where `weighted`."""

    def loss(s: Step) -> Tensor:
        b = s.answers
        d = b.logp - b.ref
        x = {"k1": d, "k2": d.square() / 2, "k3": (-d).exp() - 1 + d}[kind]
        if weighted:
            x = ratios(b) * x
        return -sequence_mean(surrogate(ratios(b), standardised(b)[:, None]) - beta * x, b)

    return loss


def kl_in_reward(s: Step) -> Tensor:
    """RLOO with -0.3 k1 of the whole answer in its reward."""
    return kl_off_reward(s, 0.3)


def kl_off_reward(s: Step, beta: float) -> Tensor:
    """RLOO with -beta k1 of the whole answer in its reward."""
    b = s.answers
    reward = b.reward - beta * ((b.old - b.ref) * b.mask).sum(1)
    a = torch.zeros_like(reward)
    for rows in b.by_group():
        n = len(rows)
        a[rows] = (reward[rows] - reward[rows].mean()) * n / (n - 1)
    r = (b.sequence - (b.old * b.mask).sum(1)).exp()
    return -surrogate(r, a).mean()


def entropy_bonus(s: Step) -> Tensor:
    """GRPO minus 0.05 of the mean entropy."""
    return grpo(s) - 0.05 * token_mean(s.answers.entropy, s.answers)


def importance_sampled(level: str, form: str, low: float, high: float) -> Loss:
    """GRPO with rho = pi_old / pi_engine, truncated, masked or dropped, of tokens, sequences or their mean."""

    def loss(s: Step) -> Tensor:
        b = s.answers
        gap = (b.old - b.engine) * b.mask
        if level != "unit":
            gap = gap.sum(1, keepdim=True) / (b.length[:, None] if level == "mean" else 1)
        rho = gap.exp()
        within = ((rho >= low) & (rho <= high)).double()
        weight = {"truncate": rho.clamp(low, high), "mask": rho * within, "drop": within}[form]
        return -sequence_mean(weight * surrogate(ratios(b), standardised(b)[:, None]), b)

    return loss


def sequence_masked(s: Step) -> Tensor:
    """DeepSeek-V3.2, arXiv 2512.02556: wrong answers are left out that the policy moved further from than 0.02."""
    b = s.answers
    a = standardised(b)[:, None]
    moved = ((b.old - b.logp) * b.mask).sum(1, keepdim=True) / b.length[:, None]
    keep = ~((a < 0) & (moved > 0.02))
    return -sequence_mean(keep * surrogate(ratios(b), a), b)


def truncated_masked(s: Step) -> Tensor:
    """Dr. GRPO without answers that the limit cut, which still count."""
    b = s.answers
    x = surrogate(ratios(b), centred(b)[:, None]) * (~b.truncated)[:, None]
    return -((x * b.mask).sum(1) / LIMIT).mean()


def difficulty(s: Step) -> Tensor:
    """Observe-R1: GRPO's advantage x 4 x 1.8 q (1 - q)."""
    b = s.answers
    a = standardised(b)
    for rows in b.by_group():
        q = b.accuracy[rows].mean()
        a[rows] = a[rows] * 4 * 1.8 * q * (1 - q)
    return -sequence_mean(surrogate(ratios(b), a[:, None]), b)


def sign_scaled(s: Step) -> Tensor:
    """GRPO with half of the negative advantages."""
    b = s.answers
    a = standardised(b)
    a = torch.where(a < 0, 0.5 * a, a)
    return -sequence_mean(surrogate(ratios(b), a[:, None]), b)


def gdpo(s: Step) -> Tensor:
    """GDPO, arXiv 2601.05242: each reward standardised in its group, summed, standardised over the batch."""
    b = s.answers
    total = torch.zeros_like(b.reward)
    for part, weight in ((b.accuracy, 1.0), (b.format, 0.2)):
        total = total + weight * standardised(b, part, 1e-4)
    a = (total - total.mean()) / (total.std() + 1e-4)
    return -sequence_mean(surrogate(ratios(b), a[:, None]), b)


def t1(s: Step) -> Tensor:
    """RLOO with 0.01 of k1 off the reward, minus 0.001 of the entropy."""
    return kl_off_reward(s, 0.01) - 0.001 * token_mean(s.answers.entropy, s.answers)
