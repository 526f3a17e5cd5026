"""The published losses that read another policy than the trained one, over padded tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.methods.plain import Plain, Step
from benchmarks.methods.published import (
    Loss,
    centred,
    ratios,
    sequence_mean,
    sft,
    standardised,
    surrogate,
    token_mean,
)


def divergence(b: Plain, other: Tensor, form: str) -> Tensor:
    """[N, U] KL(q || p), KL(p || q) or Jensen-Shannon over the vocabulary, q of log-probs `other` [N, U, V]."""
    p, q = b.every.exp(), other.exp()
    if form == "forward":
        return (q * (other - b.every)).sum(-1)
    if form == "reverse":
        return (p * (b.every - other)).sum(-1)
    m = (0.5 * (p + q)).clamp(min=1e-300).log()
    return 0.5 * (p * (b.every - m)).sum(-1) + 0.5 * (q * (other - m)).sum(-1)


def asft(s: Step) -> Tensor:
    """ASFT, arXiv 2509.23753: -sg(p) log p + 0.05 KL(base || policy) over the vocabulary, token mean."""
    b = s.demos
    return token_mean(-b.logp.exp().detach() * b.logp + 0.05 * divergence(b, b.ref_every, "forward"), b)


def superhf(s: Step) -> Tensor:
    """SuperHF, arXiv 2310.16763: likelihood of each group's best answer plus 0.35 KL(reference || policy)."""
    b = s.answers
    best = torch.stack([rows[b.reward[rows].argmax()] for rows in b.by_group()])
    return -sequence_mean(b.take(best).logp, b.take(best)) + 0.35 * token_mean(divergence(b, b.ref_every, "forward"), b)


def dph(form: str) -> Loss:
    """DPH-RL, arXiv 2509.07430: GRPO, clip 0.2 and 0.28, plus 0.01 E_q f(p / q) on answers of q, token means."""

    def loss(s: Step) -> Tensor:
        b, d = s.answers, s.demos
        u = (d.logp - d.ref).exp()
        f = {
            "forward": u - u.log() - 1,
            "js": u * u.log() - (u + 1) * ((u + 1) / 2).log(),
            "alpha": (u**0.8 - 0.8 * u - 0.2) / (0.2 * -0.8),
        }[form]
        rl = -token_mean(surrogate(ratios(b), standardised(b)[:, None], 0.2, 0.28), b)
        return rl + 0.01 * token_mean(f, d)

    return loss


def sft_beside(form: str) -> Loss:
    """Maximum likelihood plus 0.2 of a divergence to a teacher."""
    return lambda s: sft(s) + 0.2 * token_mean(divergence(s.demos, s.demos.teacher_every, form), s.demos)


def grpo_beside(s: Step) -> Tensor:
    """GRPO plus 0.2 of the Jensen-Shannon divergence to the reference."""
    b = s.answers
    loss = -sequence_mean(surrogate(ratios(b), standardised(b)[:, None]), b)
    return loss + 0.2 * token_mean(divergence(b, b.ref_every, "js"), b)


def pear(form: str, bounds: tuple[float, float] = (0.1, 10.0)) -> Loss:
    """PEAR, arXiv 2602.01058: what is behind a token weighs it, or the whole answer; gamma 0.999."""

    def loss(s: Step) -> Tensor:
        b = s.demos
        log_ratio = (b.logp - b.teacher).detach().clamp(-0.08, 0.3)
        weight = torch.zeros_like(b.logp)
        for i, length in enumerate(b.length.long().tolist()):
            for t in range(length):
                behind = log_ratio[i, t + 1 : length] if form == "suffix" else log_ratio[i, :length]
                product = math.exp(float(behind.sum()))
                discount = 0.999 ** (length - 1 - t) if form == "suffix" else 1.0
                weight[i, t] = min(max(discount * product, bounds[0]), bounds[1])
        return -token_mean(weight * b.logp, b)

    return loss


def kdrl(s: Step) -> Tensor:
    """KDRL, arXiv 2506.02208: GRPO by token mean plus 0.005 of k2 to the teacher."""
    b = s.answers
    k2 = (b.logp - b.teacher).square() / 2
    return -token_mean(surrogate(ratios(b), standardised(b)[:, None]) - 0.005 * k2, b)


def rlad(s: Step) -> Tensor:
    """A clipped surrogate of the ratio to sqrt(pi_old pi_teacher), token mean."""
    b = s.answers
    r = (b.logp - 0.5 * (b.old + b.teacher)).exp()
    return -token_mean(surrogate(r, standardised(b)[:, None]), b)


def kl_to_teacher(kind: str) -> Loss:
    """GRPO plus 0.3 of a KL to the teacher, per token."""

    def loss(s: Step) -> Tensor:
        b = s.answers
        d = b.logp - b.teacher
        x = {"k1": d, "k2": d.square() / 2, "k3": (-d).exp() - 1 + d}[kind]
        return -sequence_mean(surrogate(ratios(b), standardised(b)[:, None]) - 0.3 * x, b)

    return loss


def kl_to_teacher_in_reward(s: Step) -> Tensor:
    """Dr. GRPO whose rewards are without 0.3 of k1 to the teacher, summed over each answer."""
    b = s.answers
    a = centred(b, b.reward - 0.3 * ((b.old - b.teacher) * b.mask).sum(1))
    return -((surrogate(ratios(b), a[:, None]) * b.mask).sum(1) / 8).mean()
