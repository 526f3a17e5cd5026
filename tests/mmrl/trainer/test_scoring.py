"""What rows are scored under: the policy as it is, and its reference."""

import math
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from mmrl.contracts.types import Decision, Likelihood
from mmrl.objectives import kernel
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.advantages import Standard
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.training import StageConfig
from mmrl.trainer import scoring
from mmrl.trainer.scoring import score_rollouts
from mmrl.trainer.step import plan_step


class Moved:
    """A policy that gives each unit the log-prob -1, and -3 as its reference."""

    def __init__(self):
        self.module, self.level = torch.nn.Identity(), -1.0

    @contextmanager
    def reference(self):
        self.level = -3.0
        yield
        self.level = -1.0

    def batch_tokens(self, prompts, units):
        return sum(map(sum, units))

    def log_probs(self, batch, entropy="none"):
        return Likelihood(self.level * batch.mask_RU, batch.mask_RU)


@pytest.mark.parametrize("minibatches", [1, 2])
def test_the_kl_of_the_loss_is_to_the_reference(minibatches):
    """d = -1 - -3 = 2 at each unit; k3 = exp(-d) - 1 + d (Schulman 2020)."""
    policy, objective = Moved(), resolve_objective("grpo", {"kl": {"weight": 0.1}})
    stage = StageConfig(name="s", method="grpo", steps=1, minibatches=minibatches, prompts=2)
    rows = [Row(Decision(object(), torch.zeros(n, dtype=torch.long)), "rl", 1.0, i, n) for i, n in enumerate((2, 3))]
    scored = score_rollouts(rows, objective, stage, policy, 100)
    assert [row.reference.tolist() for row in scored] == [[-3.0] * 2, [-3.0] * 3]
    assert [row.old if row.old is None else row.old.tolist() for row in scored] == (
        [None, None] if minibatches == 1 else [[-1.0] * 2, [-1.0] * 3]
    )
    _, sums = kernel.loss(policy.log_probs(collate(scored)), scored, plan_step(objective, scored, 0, 8))
    assert sums["rl_kl_sum"] == pytest.approx(5 * (math.exp(-2) - 1 + 2))


def test_without_a_kl_nothing_is_scored_under_the_reference():
    policy, objective = Moved(), resolve_objective("grpo", {"kl": {"weight": 0.0}})
    policy.reference = None
    stage = StageConfig(name="s", method="grpo", steps=1, minibatches=2, prompts=2)
    rows = [Row(Decision(object(), torch.zeros(2, dtype=torch.long)), "rl", 1.0, 0, 2)]
    scored = score_rollouts(rows, objective, stage, policy, 100)
    assert [row.reference for row in scored] == [None]
    _, sums = kernel.loss(policy.log_probs(collate(scored)), scored, plan_step(objective, scored, 0, 8))
    assert "rl_kl_sum" not in sums


@pytest.mark.parametrize(("scale", "expected"), [("batch_std", (2.0, 2.0 + 0.5)), ("none", (0.0, 1.0))])
def test_advantages_of_a_critic_are_standardised_over_the_step(scale, expected):
    """0, 2, 4: mean 2, unbiased deviation 2, to which epsilon is added."""
    settings = Standard(baseline="value", scale=scale, epsilon=0.5)
    shift, over = scoring._standard([torch.tensor([0.0, 2.0]), torch.tensor([4.0])], settings)
    assert (shift.item(), over.item()) == pytest.approx(expected)


def test_one_advantage_alone_is_left_as_it_is():
    shift, over = scoring._standard([torch.tensor([3.0])], Standard(baseline="value", scale="batch_std"))
    assert (shift.item(), over.item()) == (0.0, 1.0)


def test_demonstrations_are_scored_before_the_first_update_where_their_stream_reads_ratios(monkeypatch):
    streams = ("demo", "plain", "rl")
    rows = [Row(Decision([1], torch.zeros(2, dtype=torch.long)), name, 1.0, i, 2) for i, name in enumerate(streams)]
    parts = {"critic": None, "offline": None, "reading_ratios": lambda: {"demo"}, "of": lambda *origins: ("rl",)}
    monkeypatch.setattr(scoring, "score_others", lambda rows, *_: rows)
    for updates, expected in (
        (1, {"demo": None, "plain": None, "rl": None}),
        (2, {"demo": -1, "plain": None, "rl": -1}),
    ):
        stage = SimpleNamespace(minibatches=updates, epochs=1)
        scored = score_rollouts(rows, SimpleNamespace(**parts), stage, Moved(), 99)
        assert {row.stream: row.old if row.old is None else float(row.old[0]) for row in scored} == expected
