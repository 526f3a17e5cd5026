"""The published losses of policy gradients and of maximum likelihood, over padded tensors.

Each is written as its paper or its authors' code has it, with autograd to differentiate it; nothing here imports
mmrl. `LIMIT` is the longest answer that sampling allows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.methods.plain import Plain, Step

LIMIT = 8
Loss = Callable[[Step], Tensor]


def token_mean(x: Tensor, b: Plain) -> Tensor:
    """The mean over all units of the step."""
    return (x * b.mask).sum() / b.mask.sum()


def sequence_mean(x: Tensor, b: Plain) -> Tensor:
    """The mean over answers of each one's mean."""
    return ((x * b.mask).sum(1) / b.length).mean()


def centred(b: Plain, rewards: Tensor | None = None) -> Tensor:
    """[N] reward minus its group's mean."""
    r = b.reward if rewards is None else rewards
    out = torch.zeros_like(r)
    for rows in b.by_group():
        out[rows] = r[rows] - r[rows].mean()
    return out


def standardised(b: Plain, rewards: Tensor | None = None, epsilon: float = 1e-6) -> Tensor:
    """[N] GRPO's advantage."""
    r = b.reward if rewards is None else rewards
    out = torch.zeros_like(r)
    for rows in b.by_group():
        out[rows] = (r[rows] - r[rows].mean()) / (r[rows].std() + epsilon)
    return out


def ratios(b: Plain) -> Tensor:
    """[N, U] pi / pi_old."""
    return (b.logp - b.old).exp()


def surrogate(r: Tensor, a: Tensor, low: float = 0.2, high: float = 0.2) -> Tensor:
    """PPO's clipped surrogate, to be maximised."""
    return torch.minimum(r * a, r.clamp(1 - low, 1 + high) * a)


def sft(s: Step) -> Tensor:
    """Mean negative log-likelihood of the demonstrations' units."""
    return -token_mean(s.demos.logp, s.demos)


def grpo(s: Step) -> Tensor:
    """DeepSeekMath, arXiv 2402.03300, eq. 3, without KL."""
    b = s.answers
    return -sequence_mean(surrogate(ratios(b), standardised(b)[:, None]), b)


def dr_grpo(s: Step) -> Tensor:
    """Dr. GRPO, arXiv 2503.20783: a constant in the place of each length, no deviation."""
    b = s.answers
    x = surrogate(ratios(b), centred(b)[:, None])
    return -((x * b.mask).sum(1) / LIMIT).mean()


def scaled_by_batch(b: Plain, epsilon: float = 1e-6) -> Tensor:
    """[N] the group's mean taken off, divided by the deviation of all rewards."""
    return centred(b) / (b.reward.std() + epsilon)


def unsolved_apart(b: Plain) -> Plain:
    """The groups that dynamic sampling keeps: neither all right nor all wrong."""
    rows = [rows for rows in b.by_group() if 0 < float(b.accuracy[rows].mean()) < 1]
    return b.take(torch.cat(rows))


def dapo(s: Step) -> Tensor:
    """DAPO, arXiv 2503.14476, eq. 8 to 13: clip-higher, token mean, dynamic sampling, overlong punishment (cache 3)."""
    b = unsolved_apart(s.answers)
    over = ((b.length - (LIMIT - 3)) / 3).clamp(0, 1)
    a = standardised(b, b.reward - over)
    return -token_mean(surrogate(ratios(b), a[:, None], 0.2, 0.28), b)


def gspo(s: Step) -> Tensor:
    """GSPO, arXiv 2507.18071, eq. 5 to 7, with clips of 0.02 that some ratios here exceed."""
    b = s.answers
    mean = ((b.logp - b.old) * b.mask).sum(1) / b.length
    return -surrogate(mean.exp(), standardised(b), 0.02, 0.03).mean()


def rloo(s: Step) -> Tensor:
    """RLOO, arXiv 2402.14740, with the sequence's ratio clipped as TRL does."""
    b = s.answers
    a = torch.zeros_like(b.reward)
    for rows in b.by_group():
        for i in rows.tolist():
            others = [j for j in rows.tolist() if j != i]
            a[i] = b.reward[i] - b.reward[others].mean()
    r = (b.sequence - (b.old * b.mask).sum(1)).exp()
    return -surrogate(r, a).mean()


def reinforce(s: Step) -> Tensor:
    """Williams 1992: -R log pi(y), over answers."""
    return -(s.answers.reward * s.answers.sequence).mean()


def opo(s: Step) -> Tensor:
    """The length-weighted mean of a group's rewards as baseline."""
    b = s.answers
    a = torch.zeros_like(b.reward)
    for rows in b.by_group():
        weights = b.length[rows] / b.length[rows].sum()
        a[rows] = b.reward[rows] - (weights * b.reward[rows]).sum()
    return -(a * b.sequence).mean()


def _whitened(x: Tensor, b: Plain) -> Tensor:
    """verl's masked_whiten: over units, with Bessel's correction."""
    units = x[b.mask.bool()]
    return (x - units.mean()) / (units.var() + 1e-8).sqrt()


def reinforce_pp(s: Step) -> Tensor:
    """REINFORCE++, arXiv 2501.03262: returns to go, whitened over the batch's tokens, PPO's clip, token mean."""
    b = s.answers
    a = _whitened(b.reward[:, None].expand_as(b.logp), b)
    return -token_mean(surrogate(ratios(b), a), b)


def reinforce_pp_with_kl(s: Step) -> Tensor:
    """The same with -0.3 k1 as each token's reward."""
    b = s.answers
    each = -0.3 * (b.old - b.ref) * b.mask
    last = (b.length - 1).long()
    each = each.clone()
    each[torch.arange(len(last)), last] += b.reward
    to_go = each.flip(1).cumsum(1).flip(1)
    return -token_mean(surrogate(ratios(b), _whitened(to_go, b)), b)


def reinforce_pp_baseline(s: Step) -> Tensor:
    """REINFORCE++-baseline: the group's mean, then whitened over the batch's tokens."""
    b = s.answers
    a = _whitened(centred(b)[:, None].expand_as(b.logp), b)
    return -token_mean(surrogate(ratios(b), a), b)


def lite_ppo(s: Step) -> Tensor:
    """Lite PPO, arXiv 2508.08221: group mean, batch deviation, token mean."""
    b = s.answers
    return -token_mean(surrogate(ratios(b), scaled_by_batch(b)[:, None]), b)


def cispo(s: Step) -> Tensor:
    """CISPO, arXiv 2506.13585, eq. 4: sg(min(r, 5)) A log pi."""
    b = s.answers
    return -token_mean(ratios(b).clamp(max=5.0).detach() * standardised(b)[:, None] * b.logp, b)


def cispo_two_sided(s: Step) -> Tensor:
    """The same with 1 - 0.2 <= r <= 1 + 0.2, as verl has it."""
    b = s.answers
    return -token_mean(ratios(b).clamp(0.8, 1.2).detach() * standardised(b)[:, None] * b.logp, b)


def gmpo(s: Step) -> Tensor:
    """GMPO, arXiv 2507.20673: the geometric mean of ratios clipped per token, in log space (bound 0.1)."""
    b = s.answers
    a = standardised(b)
    sign = a.sign()[:, None]
    w = sign * (b.logp - b.old)
    bounded = sign * torch.minimum(w, w.clamp(-0.1, 0.1))
    mean = (bounded * b.mask).sum(1) / b.length
    return -(mean.exp() * a).mean()


def sapo(s: Step) -> Tensor:
    """SAPO, arXiv 2511.20347: a sigmoid gate in the place of a clip."""
    b = s.answers
    a = standardised(b)[:, None]
    tau = torch.where(a > 0, torch.ones_like(a), torch.full_like(a, 1.05))
    gate = torch.sigmoid(tau * (ratios(b) - 1)) * 4 / tau
    return -sequence_mean(gate * a, b)


def minpro(s: Step) -> Tensor:
    """sg(clip(r_t min_{j<t} r_j)) A log pi."""
    b = s.answers
    r = ratios(b).detach()
    least = torch.ones_like(r)
    for t in range(1, r.shape[1]):
        least[:, t] = r[:, :t].min(1).values
    return -token_mean((r * least).clamp(0.8, 1.2) * standardised(b)[:, None] * b.logp, b)


def nft(s: Step) -> Tensor:
    """NFT, arXiv 2505.18116: -log R of right answers, -log of the implicit negative policy's ratio of wrong ones."""
    b = s.answers
    r, total = ratios(b), b.logp.new_zeros(())
    for rows in b.by_group():
        q = b.accuracy[rows].mean()
        if q in (0, 1):
            continue
        for i in rows.tolist():
            if b.accuracy[i] == 1:
                losses = -r[i].log()
            else:
                value = (1 - q * r[i]) / (1 - q)
                # Straight-through: the clamped value, with the gradient of the unclamped.
                losses = -(value.clamp(min=1.0).detach() + value - value.detach()).log()
            total = total + (1 - q) * (losses * b.mask[i]).sum()
    return total / (LIMIT * len(b.reward))


def scale_rl(s: Step) -> Tensor:
    """ScaleRL's loss, arXiv 2510.13786: truncated importance sampling, each prompt's mean over its tokens."""
    b = unsolved_apart(s.answers)
    x = ratios(b).clamp(max=5.0).detach() * scaled_by_batch(b)[:, None] * b.logp * b.mask
    return -torch.stack([x[rows].sum() / b.mask[rows].sum() for rows in b.by_group()]).mean()


def two_sided_grpo(s: Step) -> Tensor:
    """INTELLECT-2, arXiv 2505.07291: min(min(r, delta) A, clip(r) A), with delta 1.25 here."""
    b = s.answers
    r, a = ratios(b), standardised(b)[:, None]
    x = torch.minimum(torch.where(a < 0, r.clamp(max=1.25), r) * a, r.clamp(0.8, 1.2) * a)
    return -sequence_mean(x, b)


def high_entropy(s: Step) -> Tensor:
    """arXiv 2506.01939: only the fifth of the tokens with the highest entropy has a gradient."""
    b = s.answers
    h = b.entropy.detach()
    units = h[b.mask.bool()].sort(descending=True).values
    least = units[round(0.2 * len(units)) - 1]
    x = surrogate(ratios(b), standardised(b)[:, None], 0.2, 0.28)
    return -token_mean(x * (h >= least), b)


def dft(s: Step) -> Tensor:
    """DFT, arXiv 2508.05629: -sg(p) log p."""
    b = s.demos
    return -token_mean(b.logp.exp().detach() * b.logp, b)


def f_alpha(s: Step) -> Tensor:
    """(1 - p^alpha) / alpha, alpha 0.5."""
    b = s.demos
    return token_mean((1 - (0.5 * b.logp).exp()) / 0.5, b)


def filtered_bc(s: Step) -> Tensor:
    """Maximum likelihood of right answers, over the tokens of all."""
    b = s.answers
    return -token_mean(b.accuracy[:, None] * b.logp, b)


def reinforce_ada(s: Step) -> Tensor:
    """Reinforce-Ada, arXiv 2510.04996: rewards less the mean of each whole pool; clip 0.2 and 0.28, token mean."""
    b = s.answers
    a = torch.zeros_like(b.reward)
    for rows in b.by_group():
        pool = [*b.reward[rows].tolist(), 0.0, 1.2, 0.2]
        a[rows] = b.reward[rows] - sum(pool) / len(pool)
    return -token_mean(surrogate(ratios(b), a[:, None], 0.2, 0.28), b)


def riskpo(s: Step) -> Tensor:
    """RiskPO's first step, as its code has it: bundles of 2, quantiles 0.2 and 0.8 of their own papers, tail 1.5."""
    b = s.answers
    groups = b.by_group()
    a = torch.zeros_like(b.reward)
    for first, second in zip(groups[::2], groups[1::2], strict=True):
        papers = list(zip(first.tolist(), second.tolist()))
        scores = torch.stack([b.reward[i] + b.reward[j] for i, j in papers])
        low, high = scores.quantile(0.2), scores.quantile(0.8)
        for paper, score in zip(papers, scores, strict=True):
            within = (score - low).clamp(min=0) - (score - high).clamp(min=0) + low - high
            value = (1.5 * -(low - score).clamp(min=0) / 0.2 + within / 0.6) / 2.5 / (scores.std() + 1e-6)
            for i, rows in zip(paper, (first, second)):
                spread = b.reward[rows].std()
                a[i] = value / (spread + 1e-6 if spread > 0 else 1.0)
    return -token_mean(surrogate(ratios(b), a[:, None]), b)


def degrpo(s: Step) -> Tensor:
    """DeGRPO, arXiv 2505.13379: per answer 0.001 of its first token plus the mean of the others."""
    b = s.answers
    x = surrogate(ratios(b), standardised(b)[:, None]) * b.mask
    rest = x[:, 1:].sum(1) / (b.length - 1).clamp(min=1)
    return -(0.001 * x[:, 0] + rest).mean()


def positives_alone(s: Step) -> Tensor:
    """GRPO by token mean whose negative advantages are left out."""
    b = s.answers
    return -token_mean(surrogate(ratios(b), standardised(b).clamp(min=0)[:, None]), b)


def grpo_by_token(s: Step) -> Tensor:
    """GRPO with the mean over all tokens."""
    b = s.answers
    return -token_mean(surrogate(ratios(b), standardised(b)[:, None]), b)


def bapo_bounded(target: float, low: tuple[float, float, float], high: tuple[float, float, float]) -> Loss:
    """BAPO, arXiv 2510.18927, as its code has it.

    Args:
        low: c_low at first, at most, and its step; high: the same of c_high.
    """

    def loss(s: Step) -> Tensor:
        b = s.answers
        r, a = ratios(b), standardised(b)[:, None]
        units = b.mask.bool()

        def share(c_low: float, c_high: float) -> float:
            weighed = torch.where(a >= 0, r.clamp(max=c_high), r.clamp(min=c_low)) * a
            push = weighed[units].detach()
            return float(push[push > 0].sum() / -push[push < 0].sum())

        c_low, c_high = low[0], high[0]
        while share(c_low, c_high) < target and c_low < low[1]:
            c_low = min(c_low + low[2], low[1])
        while share(c_low, c_high) < target and c_high < high[1]:
            c_high = min(c_high + high[2], high[1])
        x = torch.minimum(r * a, r.clamp(c_low, c_high) * a)
        return -token_mean(torch.where(a < 0, torch.maximum(x, 3.0 * a), x), b)

    return loss


bapo = bapo_bounded(0.5, (0.6, 0.9, 0.05), (1.2, 3.0, 0.05))
bapo_moved = bapo_bounded(3.0, (0.97, 0.99, 0.01), (1.01, 1.05, 0.02))


def ppo(s: Step) -> Tensor:
    """PPO, arXiv 1707.06347, one value per answer: A = R - V, whitened; value clip 0.2, Huber 10, weight 1."""
    b = s.answers
    old, value = b.old_value[:, 0], b.value[:, 0]
    gain = b.reward - old
    a = ((gain - gain.mean()) / (gain.std() + 1e-6))[:, None]
    near = old + (value - old).clamp(-0.2, 0.2)
    critic = torch.maximum(_huber(value - b.reward), _huber(near - b.reward)).mean()
    return -token_mean(surrogate(ratios(b), a), b) + critic


def _huber(x: Tensor, delta: float = 10.0) -> Tensor:
    return torch.where(x.abs() <= delta, 0.5 * x.square(), delta * (x.abs() - 0.5 * delta))
