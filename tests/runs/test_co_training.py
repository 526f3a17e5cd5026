"""Co-training as a number: RL's loss plus 0.2 x the policy's own supervised loss, against the plain formula."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.methods import resolve_objective
from mmrl.trainer.figures import metrics_of
from mmrl.trainer.step import accumulate, plan_step
from tests.support import flow, openvla
from tests.support.policy import gradients, whole_distance

CRITIC = {"advantage": {"baseline": "value", "scale": "batch_std"}, "value": {"weight": 0.7, "clip": 0.2}}
ARMS = {"GRPO": ({}, "grpo", {}), "PPO": (CRITIC, "grpo", CRITIC)}
KINDS = ("openvla", "pi0")


def policy_and_rows(kind, folder):
    """A tiny policy with a critic, and rl and demo rows of two observations each, with old log-probs and targets."""
    shared = {"openvla": openvla, "pi0": flow}[kind]
    policy = shared.load(folder, kind, value_head={"width": 16})
    torch.nn.init.normal_(policy.value_head.layers[-1].weight, std=0.3)
    policy.module.value_head = policy.value_head  # so that `gradients` sees it
    samples = openvla.observations(4)
    g = torch.Generator().manual_seed(3)
    rows = []
    for row in shared.sampled_rows(policy, samples[:2]):
        with torch.no_grad():
            likelihood = policy.log_probs(collate([row]))
        old = likelihood.log_probs_RU[0] + 0.3 * torch.randn(row.units, generator=g)
        values = likelihood.value_RV[0] + 0.3 * torch.randn(1, generator=g)
        targets = torch.randn(1, generator=g, dtype=torch.float64)
        rows.append(replace(row, old=old, values=values, targets=targets))
    demos = []
    for i, prompt in enumerate(policy.prepare(samples[2:])):
        units = policy.action_units(torch.rand(1, 1 + i, 3, generator=g) * 2 - 1)[0]
        demos.append(Row(Decision(prompt, units, restrict="action"), "demo", 1.0, 100 + i, len(units)))
    return policy, rows, demos


def reinforcement(policy, rows, critic):
    """The clipped surrogate, each row's units averaged, plus 0.7 x the clipped value loss; and the share clipped."""
    loss, value_loss, clipped = 0.0, 0.0, []
    for row in rows:
        likelihood = policy.log_probs(collate([row]))
        ratio = (likelihood.log_probs_RU[0] - row.old).exp()
        surrogate = torch.minimum(ratio * row.advantage, ratio.clamp(0.8, 1.2) * row.advantage)
        loss = loss - surrogate.mean() / len(rows)
        clipped.append(((ratio - 1) * (1 if row.advantage > 0 else -1) > 0.2).float().mean())
        value, old, target = likelihood.value_RV[0], row.values, row.targets.float()
        near = old + (value - old).clamp(-0.2, 0.2)
        value_loss = value_loss + 0.5 * torch.maximum((value - target) ** 2, (near - target) ** 2).sum() / len(rows)
    return loss + (0.7 * value_loss if critic else 0.0), float(torch.stack(clipped).mean())


def supervised(policy, demos):
    """The policy's own loss on demonstrations, mean over all their units."""
    return sum(-policy.log_probs(collate([row])).log_probs_RU.sum() for row in demos) / sum(row.units for row in demos)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_rl_plus_a_fifth_of_the_supervised_loss(tiny_qwen, kind, arm):
    policy, rows, demos = policy_and_rows(kind, tiny_qwen(kind))
    overrides, alone, alone_overrides = ARMS[arm]
    published, clipped = reinforcement(policy, rows, critic=bool(overrides))
    assert 0 < clipped < 1, "some ratios are clipped and some are not"
    taught = supervised(policy, demos)
    (published + 0.2 * taught).backward()
    wanted = gradients(policy)
    taught.detach_()
    published_alone, _ = reinforcement(policy, rows, critic=bool(overrides))
    published_alone.backward()
    without = gradients(policy)

    objective = resolve_objective("co_train", overrides)
    plan = plan_step(objective, [*rows, *demos], 0, 16)
    sums = accumulate([*rows, *demos], plan, policy, budget=100)
    assert whole_distance(wanted, gradients(policy)) < 1e-4
    assert whole_distance(wanted, without) > 1e-2, "the supervised part shows in the gradient"

    objective_alone = resolve_objective(alone, alone_overrides)
    sums_alone = accumulate(rows, plan_step(objective_alone, rows, 0, 16), policy, budget=100)
    assert float(taught) > 0.05
    assert sums["loss_sum"] - sums_alone["loss_sum"] == pytest.approx(0.2 * float(taught), rel=1e-4)
    figures = metrics_of(sums, plan.weights, objective)
    assert figures["loss/demo"] == pytest.approx(float(taught), rel=1e-5)
    assert figures["stream/demo_weight"] == 0.2
