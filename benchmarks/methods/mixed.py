"""The published losses of methods between supervised and reinforcement learning, over padded tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.methods.plain import Plain, Step
from benchmarks.methods.published import (
    LIMIT,
    Loss,
    centred,
    grpo_by_token,
    ratios,
    sequence_mean,
    sft,
    standardised,
    surrogate,
    token_mean,
)


def chord_mu(step: int) -> Loss:
    """CHORD, arXiv 2508.11408: (1 - mu) L_GRPO + mu L_SFT, mu 0.9 to 0.05 over 200 steps along a cosine."""
    mu = 0.05 + 0.85 * 0.5 * (1 + math.cos(math.pi * min(step, 200) / 200))
    return lambda s: (1 - mu) * grpo_by_token(s) + mu * sft(s)


def chord_phi(s: Step) -> Tensor:
    """mu 0.1, and demonstrations weigh by sg(p (1 - p))."""
    b = s.demos
    p = b.logp.exp().detach()
    return 0.9 * grpo_by_token(s) - 0.1 * token_mean(p * (1 - p) * b.logp, b)


def co_train(s: Step) -> Tensor:
    """RLinf-Co: RL plus 0.2 of the supervised loss."""
    b = s.answers
    return -sequence_mean(surrogate(ratios(b), standardised(b)[:, None]), b) + 0.2 * sft(s)


def prefix_rft(s: Step) -> Tensor:
    """Prefix-RFT, arXiv 2507.01679: rewards less the mean of all answers but the last, which continues a prefix."""
    b = s.answers
    a = torch.zeros_like(b.reward)
    for rows in b.by_group():
        a[rows] = b.reward[rows] - b.reward[rows[:-1]].mean()
    return -(surrogate(ratios(b), a[:, None]) * b.mask).sum() / (LIMIT * len(b.reward))


def ink_grpo(s: Step) -> Tensor:
    """InK-GRPO in a step that its text counts in: clip 0.2 and 0.24, and 0.1 of the text's likelihood."""
    b = s.answers
    return -sequence_mean(surrogate(ratios(b), standardised(b)[:, None], 0.2, 0.24), b) + 0.1 * sft(s)


def offline_mix(s: Step) -> Tensor:
    """EasyVideoR1: demonstrations in the groups as if sampled; clip 0.2 and 0.3, dual clip 3, token mean."""
    b = s.replaced
    r, a = ratios(b), standardised(b)[:, None]
    x = surrogate(r, a, 0.2, 0.3)
    return -token_mean(torch.where(a < 0, torch.maximum(x, 3.0 * a), x), b)


def _sums(x: Tensor, b: Plain) -> Tensor:
    return (x * b.mask).sum() / LIMIT


def luffy(s: Step) -> Tensor:
    """LUFFY, arXiv 2504.14945: r A of answers, p / (p + 0.1) A of demonstrations, A over both; 0.001 of entropy."""
    b = s.replaced
    a = centred(b)[:, None]
    p = b.logp.exp()
    x = torch.where(b.demo[:, None], p / (p + 0.1), ratios(b)) * a
    return -_sums(x, b) - 0.001 * token_mean(b.entropy, b)


def rl_plus(s: Step) -> Tensor:
    """RL-PLUS, arXiv 2508.00222: demonstrations' ratio to a mean of policies, times A sg((1 - p)^0.5)."""
    b = s.replaced
    a = centred(b)[:, None]
    old = b.old.exp()
    mixed = 2 * b.logp.exp() / (old + 0.5 * (old + 1))
    explored = (1 - b.logp.exp().detach()).pow(0.5)
    return -_sums(torch.where(b.demo[:, None], mixed * explored, ratios(b)) * a, b)


def visurf(s: Step) -> Tensor:
    """ViSurf, arXiv 2510.10606: the ground truth is one more answer, without its reward for form, and smoothed."""
    b = s.appended
    reward = b.reward.clone()
    for rows in b.by_group():
        truth, answers = rows[-1], rows[:-1]
        reward[truth] -= 0.2 * b.format[truth]
        if reward[answers].max() >= reward[truth]:
            reward[truth] = reward[answers].mean()
    return -sequence_mean(surrogate(ratios(b), standardised(b, reward)[:, None]), b)


def hpt(s: Step) -> Tensor:
    """HPT, arXiv 2509.04419: groups that nothing solves become supervised; r A without clip, sums / L_max."""
    b = s.answers
    solved = [rows for rows in b.by_group() if b.accuracy[rows].sum() > 0]
    failed = [int(b.group[rows[0]]) for rows in b.by_group() if b.accuracy[rows].sum() == 0]
    kept, demos = b.take(torch.cat(solved)), s.demos.take(failed)
    entropy = (kept.entropy * kept.mask).sum() + (demos.entropy * demos.mask).sum()
    loss = -_sums(ratios(kept) * centred(kept)[:, None], kept) - token_mean(demos.logp, demos)
    return loss - 0.001 * entropy / (kept.mask.sum() + demos.mask.sum())


def relift(s: Step) -> Tensor:
    """ReLIFT, arXiv 2506.07527: Dr. GRPO's sums, and demonstrations of what nothing solves, less 0.001 of entropy."""
    b = s.answers
    failed = [int(b.group[rows[0]]) for rows in b.by_group() if b.accuracy[rows].sum() == 0]
    demos = s.demos.take(failed)
    supervised = -token_mean(demos.logp, demos) - 0.001 * token_mean(demos.entropy, demos)
    return -_sums(surrogate(ratios(b), centred(b)[:, None]), b) + supervised


def srft_demonstrations(s: Step) -> Tensor:
    """SRFT's weight of demonstrations: 0.5 sg(e^-H)."""
    b = s.demos
    return -token_mean(0.5 * (-b.entropy.detach()).exp() * b.logp, b)
