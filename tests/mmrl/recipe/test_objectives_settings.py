"""Normalisers, and settings that do not fit together."""

from types import SimpleNamespace

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision, Likelihood
from mmrl.objectives import kernel
from mmrl.objectives.rows import Row, normaliser
from mmrl.recipe.methods import METHODS, resolve_objective
from mmrl.recipe.streams import Stream
from mmrl.trainer.figures import over_minibatches
from mmrl.trainer.step import accumulate, minibatches, plan_step


def row(stream, trajectory, units, trajectory_units=None, group_size=1):
    decision = Decision(None, torch.zeros(units, dtype=torch.long))
    return Row(decision, stream, 1.0, trajectory, trajectory_units or units, group_size)


ROLLED = {"from": "rollouts"}

# Trajectory 0 has two decisions; 0 and 1 are a group of two, 2 a group of its own; 3 is a demonstration.
ROWS = [
    row("rl", 0, 3, 8, group_size=2),
    row("rl", 0, 5, 8, group_size=2),
    row("rl", 1, 2, group_size=2),
    row("rl", 2, 4),
    row("demo", 3, 6),
]


@pytest.mark.parametrize(
    ("stream", "scales"),
    [
        (Stream(**ROLLED, normalise="token"), [1 / 14] * 4),
        (Stream(**ROLLED, normalise="sequence"), [1 / 24, 1 / 24, 1 / 6, 1 / 12]),
        (Stream(**ROLLED, normalise="constant"), [1 / 30] * 4),
        (Stream(**ROLLED, normalise="constant", max_units=20), [1 / 60] * 4),
        (Stream(**ROLLED, normalise="sum"), [1 / 10] * 4),
        # three prompts: the group of two, the group of one, and the demonstration
        (Stream(**ROLLED, normalise="sequence", per_prompt=True), [1 / 48, 1 / 48, 1 / 12, 1 / 12]),
        (Stream(**ROLLED, normalise="constant", per_prompt=True), [1 / 60, 1 / 60, 1 / 60, 1 / 30]),
    ],
)
def test_normalisers_count_over_the_whole_step(stream, scales):
    made = normaliser("rl", stream, ROWS, max_units=10)
    assert [made.scale(r) for r in ROWS[:4]] == pytest.approx(scales)


@pytest.mark.parametrize("normalise", ["token", "sequence", "constant"])
def test_an_empty_stream_gives_zero_loss_and_no_nan(normalise):
    objective = resolve_objective("chord_mu", {"streams": {"rl": {"normalise": normalise}}, "entropy": 0.1})
    rows = [row("demo", 0, 2)]
    plan = plan_step(objective, rows, 0, 8)
    log_probs = torch.full((1, 2), -1.0, requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    loss, sums = kernel.loss(Likelihood(log_probs, mask), rows, plan)
    assert loss.item() == pytest.approx(0.9)
    assert sums["rl_units_sum"] == 0
    assert "rl_ratio_sum" not in sums


def test_a_step_without_rows_is_a_step_without_gradient():
    objective = resolve_objective("dapo", {})
    policy = SimpleNamespace(batch_tokens=None, log_probs=None)
    assert accumulate([], plan_step(objective, [], 0, 8), policy, 64) == {"loss_sum": 0.0}


def test_zero_advantages_give_exactly_zero_gradient():
    rows = [Row(Decision(None, torch.zeros(3, dtype=torch.long)), "rl", 0.0, i, 3, 2) for i in range(2)]
    log_probs = torch.full((2, 3), -1.0, requires_grad=True)
    likelihood = Likelihood(log_probs, torch.ones(2, 3, dtype=torch.bool))
    loss, _ = kernel.loss(likelihood, rows, plan_step(resolve_objective("grpo", {}), rows, 0, 8))
    assert torch.equal(torch.autograd.grad(loss, log_probs)[0], torch.zeros(2, 3))


def test_minibatches_hold_whole_trajectories_once_an_epoch():
    parts = minibatches(ROWS, 2, 3, torch.Generator().manual_seed(0))
    assert len(parts) == 6
    seen_orders = set()
    for epoch in range(3):
        pair = parts[2 * epoch : 2 * epoch + 2]
        assert sorted(map(id, pair[0] + pair[1])) == sorted(map(id, ROWS))
        assert not {r.trajectory for r in pair[0]} & {r.trajectory for r in pair[1]}
        seen_orders.add(tuple(r.trajectory for r in pair[0] + pair[1]))
    assert len(seen_orders) > 1
    assert minibatches(ROWS, 1, 1, torch.Generator()) == [ROWS]


def test_figures_of_several_optimizer_steps_hide_no_skipped_one():
    parts = [
        {"optim/skipped": 1.0, "policy/ratio_max": 3.0, "loss/rl": 1.0, "optim/lr": 0.1, "loss/demo": 5.0},
        {"optim/skipped": 0.0, "policy/ratio_max": 2.0, "loss/rl": 2.0, "optim/lr": 0.2},
    ]
    joined = {"optim/skipped": 1.0, "policy/ratio_max": 3.0, "loss/rl": 1.5, "optim/lr": 0.2, "loss/demo": 5.0}
    assert over_minibatches(parts) == joined
    assert over_minibatches(parts[:1]) == parts[0]
    assert over_minibatches([]) == {}


@pytest.mark.parametrize(
    ("method", "overrides", "key"),
    [
        ("sft", {"entropy": 0.1}, "entropy"),
        ("sft", {"kl": {"weight": 0.1}}, "kl.weight"),
        ("sft", {"filter": {}}, "filter"),
        ("sft", {"reward_transforms": {"overlong": {"cache": 4}}}, "reward_transforms"),
        ("sft", {"mask_truncated": True}, "mask_truncated"),
        ("sft", {"mismatch": {"kind": "mask"}}, "mismatch.kind"),
        ("sft", {"gate": {"solved": 0}}, "gate"),
        ("sft", {"streams": {"rl": {}}}, "streams"),
        ("grpo", {"demonstrations": True}, "streams"),
        ("grpo", {"streams": {"rl": {"per_prompt": True, "normalise": "token"}}}, "streams.rl.per_prompt"),
        ("grpo", {"streams": {"rl": {"per_prompt": True, "normalise": "sum"}}}, "streams.rl.per_prompt"),
        ("grpo", {"streams": {"rl": {"complement_of": "demo"}}}, "streams.rl.complement_of"),
        ("grpo", {"streams": {"rl": {"complement_of": "rl"}}}, "streams.rl.complement_of"),
        ("chord_mu", {"streams": {"demo": {"complement_of": "rl"}}}, "complement_of"),
        ("chord_mu", {"streams": {"rl": {"weight": 0.5}}}, "streams.rl.weight"),
        ("chord_mu", {"streams": {"demo": {"weight": {"peak": 1.5}}}}, "streams.demo.weight"),
        ("grpo", {"advantage": {"baseline": "none"}}, "objective.advantage"),
        ("grpo", {"advantage": {"baseline": "batch_mean"}}, "objective.advantage"),
        ("grpo", {"advantage": {"baseline": "none", "scale": "batch_std"}}, "objective.advantage"),
        ("grpo", {"advantage": {"epsilon": 0}}, "objective.advantage.epsilon"),
        ("dapo", {"filter": {"low": 0.9, "high": 0.1}}, "objective.filter"),
        ("grpo", {"mismatch": {"cap": 1.0}}, "objective.mismatch.cap"),
        ("grpo", {"streams": {"rl": {"coefficient": {"dual": 0.5}}}}, "objective.streams.rl.coefficient.dual"),
        ("grpo", {"streams": {"rl": {"coefficient": {"kind": "ppo"}}}}, "objective.streams.rl.coefficient.kind"),
        ("grpo", {"klx": 1}, "objective.klx"),
        ("sft_then_rl", {}, "sft_then_rl"),
        ("grop", {}, "grop"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(method, overrides, key):
    with pytest.raises(ConfigError) as caught:
        resolve_objective(method, overrides)
    assert key in str(caught.value)


@pytest.mark.parametrize("name", [name for name, method in METHODS.entries.items() if method.objective is not None])
def test_every_method_resolves(name):
    assert resolve_objective(name, {}).streams.keys() == METHODS.get(name).objective["streams"].keys()
