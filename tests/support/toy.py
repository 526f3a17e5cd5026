"""A toy of a few sequences in float64, on which the kernel's gradient meets autograd of published losses."""

from dataclasses import replace

import torch

from mmrl.contracts.types import Decision, Likelihood
from mmrl.objectives import kernel
from mmrl.objectives.rows import Row
from mmrl.recipe.methods import resolve_objective
from mmrl.trainer.step import plan_step

VOCABULARY = 11
L_MAX = 16


class Toy:
    """Random logits of a few sequences: 2 groups of 3 rollouts and 3 demonstrations, of different lengths."""

    def __init__(self, seed: int):
        g = torch.Generator().manual_seed(seed)
        self.streams = ["rl"] * 6 + ["demo"] * 3
        self.lengths = torch.randint(1, 9, (9,), generator=g).tolist()
        self.logits = torch.randn(9, 8, VOCABULARY, dtype=torch.float64, generator=g).mul(2).requires_grad_()
        self.tokens = torch.randint(0, VOCABULARY, (9, 8), generator=g)
        self.advantages = [*torch.randn(6, dtype=torch.float64, generator=g).tolist(), 1.0, 1.0, 1.0]
        self.advantages[1] = 0.0
        all_units = self.all_log_probs().detach()
        noise = torch.randn(3, 9, 8, dtype=torch.float64, generator=g)
        self.old, self.reference = all_units + 0.5 * noise[0], all_units + 0.7 * noise[1]
        self.rollout = self.old + 0.6 * noise[2]

    def all_log_probs(self):
        return self.logits.log_softmax(-1).gather(-1, self.tokens[:, :, None]).squeeze(-1)

    def indices(self, stream):
        return [i for i, name in enumerate(self.streams) if name == stream]

    def p(self, i):
        """Probabilities of sequence i's tokens, as a differentiable vector."""
        return self.logits[i, : self.lengths[i]].softmax(-1).gather(-1, self.tokens[i, : self.lengths[i], None])[:, 0]

    def units(self, stream):
        return sum(self.lengths[i] for i in self.indices(stream))

    def rows(self, *streams, group_size=3):
        rows = []
        for i, n in enumerate(self.lengths):
            is_rl = self.streams[i] == "rl"
            decision = Decision(None, self.tokens[i, :n], self.rollout[i, :n] if is_rl else None)
            row = Row(decision, self.streams[i], self.advantages[i], i, n, group_size if is_rl else 1)
            if is_rl:
                row = replace(row, old=self.old[i, :n], reference=self.reference[i, :n])
            rows.append(row)
        return [row for row in rows if row.stream in streams]

    def kernel_gradient(self, objective, step=0, **kwargs):
        rows = self.rows(*objective.streams, **kwargs)
        plan = plan_step(objective, rows, step, L_MAX)
        rows = [row for row in rows if not row.masked]
        chosen = [row.trajectory for row in rows]
        width = max(self.lengths[i] for i in chosen)
        mask = torch.arange(width)[None] < torch.tensor([self.lengths[i] for i in chosen])[:, None]
        log_all = self.logits[chosen, :width].log_softmax(-1)
        log_probs = self.all_log_probs()[chosen, :width] * mask
        entropy = -(log_all.exp() * log_all).sum(-1) * mask
        total, _ = kernel.loss(Likelihood(log_probs, mask, entropy), rows, plan)
        return torch.autograd.grad(total, self.logits)[0]

    def gradient(self, loss):
        return torch.autograd.grad(loss, self.logits, retain_graph=True)[0]


def assert_same(ours, published):
    assert float(published.abs().max()) > 1e-4, "the published gradient is zero, so this compares nothing"
    assert float((ours - published).abs().max()) <= 1e-10 * float(published.abs().max())


def objective_of(method="grpo", **overrides):
    return resolve_objective(method, overrides)


def ppo_term(toy, i, low=0.2, high=0.2, dual=None):
    """Sum over tokens of the clipped surrogate (to maximise)."""
    n, advantage = toy.lengths[i], toy.advantages[i]
    r = toy.p(i) / toy.old[i, :n].exp()
    surrogate = torch.minimum(r * advantage, r.clamp(1 - low, 1 + high) * advantage)
    if dual is not None and advantage < 0:
        surrogate = torch.maximum(surrogate, torch.full_like(surrogate, dual * advantage))
    return surrogate
