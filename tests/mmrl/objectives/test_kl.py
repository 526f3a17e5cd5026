"""KL to the reference: its estimates and gradients in the loss, by autograd, and in the reward, by hand."""

import json
from dataclasses import replace

import pytest
import torch

from mmrl import train
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision, Group, Sample, Trajectory
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer.rows import Measured, make_rows
from mmrl.trainer.scoring import measure_references, score_rollouts
from tests.support.policy import digits, load, sampled_rows
from tests.support.runs import recipe
from tests.support.toy import Toy, assert_same, objective_of, ppo_term

ESTIMATES = {"k1": lambda d: d, "k2": lambda d: d.square() / 2, "k3": lambda d: (-d).exp() - 1 + d}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ESTIMATES)
def test_kl_in_the_loss_is_autograd_of_its_estimate(kind, weighted, seed):
    """TRL's default is k3 and weighted: per_token_kl * coef_1, with coef_1 = exp(log pi - log pi_old) in the graph."""
    toy, beta, published = Toy(seed), 0.3, 0.0
    for i in toy.indices("rl"):
        n = toy.lengths[i]
        difference = toy.p(i).log() - toy.reference[i, :n]
        r = toy.p(i) / toy.old[i, :n].exp() if weighted else 1.0
        published = published - (ppo_term(toy, i) - beta * r * ESTIMATES[kind](difference)).mean() / 6
    ours = objective_of("grpo", kl={"weight": beta, "kind": kind, "ratio_weighted": weighted})
    assert_same(toy.kernel_gradient(ours), toy.gradient(published))


def test_on_policy_the_weighted_k3_is_k2():
    toy = Toy(0)
    toy.old = toy.all_log_probs().detach()
    weighted, plain = (
        objective_of("grpo", kl={"weight": 0.3, **own}) for own in ({"ratio_weighted": True}, {"kind": "k2"})
    )
    assert_same(toy.kernel_gradient(weighted), toy.kernel_gradient(plain))


def test_in_the_reward_kl_is_no_term_of_the_loss():
    toy = Toy(1)
    ours = objective_of("grpo", kl={"weight": 0.3, "place": "reward"})
    assert torch.equal(toy.kernel_gradient(ours), toy.kernel_gradient(objective_of("grpo")))


SAMPLE = Sample("s", (), "t", {})
OLD, REFERENCE = torch.tensor([-1.0, -0.5]), torch.tensor([-1.5, -0.25])
# d is 0.5 and -0.25.
SUMS = {"k1": 0.25, "k2": 0.125 + 0.03125, "k3": 2.718281828459045**-0.5 - 0.5 + 2.718281828459045**0.25 - 1.25}


def measured_batch(*rewards, steps=None):
    """One group whose first trajectory is away from the reference by d; the others are on it."""
    decisions = [Decision(None, torch.zeros(2, dtype=torch.long), step_rewards=steps or ()) for _ in rewards]
    if steps:
        decisions = [replace(decision, reward=sum(steps)) for decision in decisions]
    group = Group(SAMPLE, tuple(Trajectory((d,), reward=r) for d, r in zip(decisions, rewards)))
    away = {id(decisions[0]): Measured(OLD, REFERENCE)}
    return StepBatch(rollouts=(group,)), away | {id(d): Measured(OLD, OLD) for d in decisions[1:]}


@pytest.mark.parametrize("kind", SUMS)
def test_rloo_takes_the_kl_of_a_whole_answer_off_its_reward(kind):
    """R = r - beta sum_t KL_t, and the advantage is R minus the mean R of the others (RLOO, arXiv 2402.14740)."""
    objective = resolve_objective("rloo", {"kl": {"weight": 0.4, "kind": kind, "place": "reward"}})
    batch, measured = measured_batch(1.0, 0.0, 0.5)
    stage = StageConfig(name="s", method="rloo", steps=1)
    rows, noted = make_rows(batch, objective, stage, measured)
    charged = [1.0 - 0.4 * SUMS[kind], 0.0, 0.5]
    others = [(charged[1] + charged[2]) / 2, (charged[0] + charged[2]) / 2, (charged[0] + charged[1]) / 2]
    assert [row.advantage for row in rows] == pytest.approx([r - o for r, o in zip(charged, others)])
    assert [t.info["kl_charge"] for t in noted[0].trajectories] == pytest.approx([0.4 * SUMS[kind], 0, 0])
    assert [t.reward for t in noted[0].trajectories] == [1.0, 0.0, 0.5], "the reward on record is the task's"
    assert all(row.reference is not None for row in rows), "for policy/kl_ref"


def test_under_a_critic_each_step_pays_for_its_own_units():
    objective = resolve_objective("ppo", {"kl": {"weight": 0.4, "kind": "k1", "place": "reward"}})
    batch, measured = measured_batch(3.5, steps=(1.0, 2.0))
    rows, _ = make_rows(batch, objective, StageConfig(name="s", method="ppo", steps=1), measured)
    assert rows[0].rewards == pytest.approx((1.0 - 0.4 * 0.5, 2.0 + 0.4 * 0.25 + 0.5)), (
        "0.5 more falls to the last step"
    )


def test_references_are_measured_before_the_advantage_and_once(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    objective = resolve_objective("rloo", {"kl": {"weight": 0.4, "place": "reward"}})
    policy.keep_reference()
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.mul_(1.02)
    rows = sampled_rows(policy, digits(1, "ocr"), 2)
    group = Group(digits(1, "ocr")[0], tuple(Trajectory((row.decision,), reward=1.0) for row in rows))
    measured = measure_references([group], objective, policy, 10_000)
    plain = resolve_objective("grpo", {"kl": {"weight": 0.4}})
    several = StageConfig(name="s", method="grpo", steps=1, minibatches=2, prompts=2)
    for row in score_rollouts(rows, plain, several, policy, 10_000):
        known = measured[id(row.decision)]
        assert torch.allclose(known.old, row.old, atol=1e-5)
        assert torch.allclose(known.reference, row.reference, atol=1e-5)
        assert not torch.allclose(known.old, known.reference, atol=1e-3)
    assert measure_references([group], plain, policy, 10_000) == {}


def test_what_was_measured_for_the_kl_is_not_computed_again(tiny_qwen, monkeypatch):
    policy = load(tiny_qwen("qwen2_5_vl"))
    objective = resolve_objective("rloo", {"kl": {"weight": 0.4, "place": "reward"}})
    policy.keep_reference()
    rows = sampled_rows(policy, digits(1, "ocr"), 2)
    group = Group(digits(1, "ocr")[0], tuple(Trajectory((row.decision,), reward=1.0) for row in rows))
    measured = measure_references([group], objective, policy, 10_000)
    several = StageConfig(name="s", method="rloo", steps=1, minibatches=2, prompts=2)
    computed = score_rollouts(rows, objective, several, policy, 10_000)
    monkeypatch.setattr(policy, "log_probs", None)
    known = score_rollouts(rows, objective, several, policy, 10_000, measured)
    assert all(torch.equal(a.old, b.old) for a, b in zip(computed, known, strict=True))


def test_a_run_pays_for_its_distance_from_where_it_began(tiny_qwen, tmp_path):
    raw = recipe(tiny_qwen(), tmp_path, method="rloo", steps=2)
    raw["objective"] = {"kl": {"weight": 0.5, "kind": "k1", "place": "reward"}}
    raw["optim"], raw["evaluation"] = {"lr": 1e-2}, {}
    raw["tracking"] = {**raw["tracking"], "rollouts_groups": 4}
    folder = train(raw).folder
    for step, moved in ((1, False), (2, True)):
        lines = [json.loads(line) for line in (folder / "rollouts" / f"step_{step:06d}.jsonl").read_text().splitlines()]
        assert any(abs(line["info"]["kl_charge"]) > 1e-4 for line in lines) == moved
        for group in {line["group"] for line in lines}:
            mine = [line for line in lines if line["group"] == group]
            charged = [line["reward"] - line["info"]["kl_charge"] for line in mine]
            mean, n = sum(charged) / len(charged), len(charged)
            wanted = [(r - mean) * n / (n - 1) for r in charged]
            assert [line["advantage"] for line in mine] == pytest.approx(wanted, abs=1e-9)
    figures = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kl = [line["policy/kl_ref"] for line in figures if "policy/kl_ref" in line]
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[1] > 1e-5


@pytest.mark.parametrize(
    ("method", "overrides", "said"),
    [
        (
            "rloo",
            {"kl": {"weight": 0.1, "place": "reward", "ratio_weighted": True}},
            "ratio_weighted is for place loss",
        ),
        ("grpo", {"kl": {"kind": "k4"}}, "objective.kl.kind: 'k4' is not allowed"),
        (
            "chord_mu",
            {"kl": {"weight": 0.1, "place": "reward"}, "streams": {"demo": {"terms": ["kl"]}}},
            "streams.demo has none",
        ),
        (
            "grpo",
            {"kl": {"weight": 0.1, "place": "reward"}, "advantage": {"kind": "gdpo", "weights": {"a": 1.0}}},
            "gdpo reads the parts of the reward, which kl.place: reward does not change",
        ),
    ],
)
def test_kl_that_cannot_be_is_refused(method, overrides, said):
    with pytest.raises(ConfigError, match=said):
        resolve_objective(method, overrides)
