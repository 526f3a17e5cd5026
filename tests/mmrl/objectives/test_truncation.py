"""mask_truncated takes the gradient of cut answers out, and nothing of what the others weigh."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.types import Decision, Group, Sample, StopReason, Trajectory
from mmrl.objectives.rows import Row
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer.figures import resources
from mmrl.trainer.rows import make_rows
from mmrl.trainer.scoring import score_rollouts
from mmrl.trainer.step import accumulate, minibatches, plan_step
from tests.support.policy import digits, gradients, load, sampled_rows
from tests.support.toy import L_MAX, Toy, assert_same, objective_of, ppo_term

CUT = (1, 4, 5)


class Masked(Toy):
    """The toy with some answers cut: rows of theirs count, and are in no forward pass."""

    def rows(self, *streams, **kwargs):
        return [replace(row, masked=row.trajectory in CUT) for row in super().rows(*streams, **kwargs)]


@pytest.mark.parametrize("seed", range(3))
def test_grpo_and_dr_grpo_divide_by_all_answers_and_dapo_by_the_units_that_are_left(seed):
    """TRL: (loss * mask).sum(-1) / length, mean over N; / (N x L_max); and / mask.sum() under loss_type dapo."""
    toy = Masked(seed)
    left = [i for i in toy.indices("rl") if i not in CUT]
    grpo = -sum(ppo_term(toy, i).mean() for i in left) / 6
    assert_same(toy.kernel_gradient(objective_of("grpo", mask_truncated=True)), toy.gradient(grpo))
    dr_grpo = -sum(ppo_term(toy, i).sum() for i in left) / (6 * L_MAX)
    assert_same(toy.kernel_gradient(objective_of("dr_grpo", mask_truncated=True)), toy.gradient(dr_grpo))
    dapo = -sum(ppo_term(toy, i, high=0.28).sum() for i in left) / sum(toy.lengths[i] for i in left)
    assert_same(toy.kernel_gradient(objective_of("dapo", mask_truncated=True)), toy.gradient(dapo))


def trajectory(units, reward, stop):
    return Trajectory((Decision(None, torch.zeros(units, dtype=torch.long)),), reward=reward, stop=stop)


def test_rows_of_cut_answers_are_masked_and_dealt_with_the_others():
    cut = [trajectory(3, 1.0, StopReason.LENGTH), trajectory(2, 0.0, StopReason.LENGTH)]
    whole = [trajectory(4, 0.0, StopReason.END), trajectory(5, 1.0, StopReason.END)]
    batch = StepBatch(rollouts=(Group(Sample("s", (), "t", {}), (*cut, *whole)),))
    stage = StageConfig(name="x", method="grpo", steps=1, objective={"mask_truncated": True})
    rows, _ = make_rows(batch, stage.objective, stage)
    assert [row.masked for row in rows] == [True, True, False, False]
    parts = minibatches(rows, 2, 1, torch.Generator().manual_seed(0), by="trajectory")
    assert [plan_step(stage.objective, part, 0, 8).normalisers["rl"].denominator for part in parts] == [2, 2]
    assert resources(rows, 1.0, 1.0)["throughput/tokens_per_s"] == 9


def test_masked_rows_are_neither_scored_nor_passed_forward(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    objective = resolve_objective("grpo", {"mask_truncated": True, "kl": {"weight": 0.1}})
    stage = StageConfig(name="x", method="grpo", steps=1, minibatches=2, prompts=2)
    policy.keep_reference()
    rows = sampled_rows(policy, digits(2, "ocr"), 3)
    rows = [replace(row, masked=i in (0, 4)) for i, row in enumerate(rows)]
    scored = score_rollouts(rows, objective, stage, policy, 10_000)
    assert [row.masked for row in scored] == [False] * 4 + [True] * 2
    assert [row.reference is None for row in scored] == [row.masked for row in scored]
    sums = accumulate(scored, plan_step(objective, scored, 0, 8), policy, 10_000)
    masked = gradients(policy)
    assert sums["rl_units_sum"] == sum(row.units for row in rows if not row.masked)
    # The same rows, their number given by hand: what is left of six weighs four sixths of a mean over four.
    alone = scored[:4]
    accumulate(alone, plan_step(objective, alone, 0, 8), policy, 10_000)
    for name, gradient in gradients(policy).items():
        assert torch.allclose(masked[name], gradient * 4 / 6, atol=1e-6), name


def test_a_step_without_a_group_takes_as_many_optimizer_steps_as_any_other():
    assert minibatches([], 3, 2, torch.Generator()) == [[]] * 6
    one = Row(Decision(None, torch.zeros(2, dtype=torch.long)), "rl", 1.0, 0, 2)
    assert [len(part) for part in minibatches([one], 3, 2, torch.Generator())] == [1, 0, 0, 1, 0, 0]
