"""The published losses of learning from preferences, over padded tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from benchmarks.methods.plain import Plain, Step
from benchmarks.methods.published import Loss, sequence_mean, standardised


def _gain(b: Plain) -> Tensor:
    """[N] log pi(y) - log ref(y)."""
    return ((b.logp - b.ref) * b.mask).sum(1)


def dpo_with(smoothing: float) -> Loss:
    """DPO, arXiv 2305.18290, eq. 7, beta 0.1; conservative with some labels taken to be wrong."""

    def loss(s: Step) -> Tensor:
        h = 0.1 * (_gain(s.demos) - _gain(s.rejected))
        return -((1 - smoothing) * logsigmoid(h) + smoothing * logsigmoid(-h)).mean()

    return loss


dpo = dpo_with(0.0)


def dpo_to_teacher(s: Step) -> Tensor:
    """DPO with a companion in the reference's place."""
    chosen, rejected = (((b.logp - b.teacher) * b.mask).sum(1) for b in (s.demos, s.rejected))
    return -logsigmoid(0.1 * (chosen - rejected)).mean()


def ipo(s: Step) -> Tensor:
    """IPO, arXiv 2310.12036, eq. 17, on means over tokens: (h - 1 / (2 beta))^2, beta 0.1."""
    h = _gain(s.demos) / s.demos.length - _gain(s.rejected) / s.rejected.length
    return (h - 1 / (2 * 0.1)).square().mean()


def slic(s: Step) -> Tensor:
    """SLiC-HF's hinge, arXiv 2305.10425, beta 1.5 here, so that some pairs are beyond it."""
    return torch.relu(1 - 1.5 * (_gain(s.demos) - _gain(s.rejected))).mean()


def dpo_sft(s: Step) -> Tensor:
    """DPO plus the mean over answers of the chosen one's mean negative log-likelihood."""
    return dpo(s) - sequence_mean(s.demos.logp, s.demos)


def mpo(s: Step) -> Tensor:
    """0.8 DPO, 0.2 of BCO's pairs around the mean reward, and the mean over chosen answers of each one's mean."""
    chosen, rejected = 0.1 * _gain(s.demos), 0.1 * _gain(s.rejected)
    middle = torch.cat([chosen, rejected]).mean().detach()
    bco = -(logsigmoid(chosen - middle) + logsigmoid(-(rejected - middle))).mean()
    return 0.8 * dpo(s) + 0.2 * bco - sequence_mean(s.demos.logp, s.demos)


def online_dpo(s: Step) -> Tensor:
    """The best of each group against its worst; groups of equal rewards count and teach nothing."""
    b = s.answers
    gain, losses = _gain(b), []
    for rows in b.by_group():
        # The first of equal ones.
        order = sorted(rows.tolist(), key=lambda i: (float(b.reward[i]), -i))
        best, worst = order[-1], min(rows.tolist(), key=lambda i: (float(b.reward[i]), i))
        equal = b.reward[best] == b.reward[worst]
        losses.append(0.0 * gain.sum() if equal else -logsigmoid(0.1 * (gain[best] - gain[worst])))
    return torch.stack(losses).mean()


def copg(s: Step) -> Tensor:
    """CoPG: (R_i - R_j)^2 / (2 beta) over the pairs of each group, R = r - beta log(pi / ref), beta 0.1."""
    b = s.answers
    regularised, losses = b.reward - 0.1 * _gain(b), []
    for rows in b.by_group():
        pairs = [(i, j) for i in rows.tolist() for j in rows.tolist() if i < j]
        losses.append(torch.stack([(regularised[i] - regularised[j]).square() / 0.2 for i, j in pairs]).mean())
    return torch.stack(losses).mean()


def adpo(s: Step) -> Tensor:
    """ADPO: -sum_i q_i log p_i over each group, tau 0.8, beta 0.5."""
    b = s.answers
    moved, a, losses = ((b.logp - b.old) * b.mask).sum(1), standardised(b), []
    for rows in b.by_group():
        q = (a[rows] / 0.5).softmax(0)
        losses.append(-(q * (moved[rows] / 0.8).log_softmax(0)).sum())
    return torch.stack(losses).mean()
