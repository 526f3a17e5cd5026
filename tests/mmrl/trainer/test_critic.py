"""The critic: GAE against plain sums, the value loss against autograd, and credit along episodes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmrl import train
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.types import Decision, Group, Likelihood, Sample, StopReason, Trajectory
from mmrl.objectives import kernel
from mmrl.objectives.gae import gae
from mmrl.objectives.rows import Row
from mmrl.recipe.advantages import Standard
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.objective import ValueLoss
from mmrl.trainer.figures import _critic
from mmrl.trainer.rows import make_rows
from mmrl.trainer.scoring import weigh
from mmrl.trainer.step import accumulate, plan_step, score
from tests.support.policy import digits, distance, gradients, load, sampled_rows
from tests.support.runs import assert_same_run, recipe

EPISODES = {
    "rewards": [],
    "simulators": {
        "table": {"type": "tabletop", "tasks": ["reach"], "image_size": 28, "max_steps": 4, "reward": "dense"}
    },
    "data": {"train": [{"type": "episodes", "simulator": "table", "size": 64}]},
    "rollout": {"n": 3, "action_chunk": 2},
    "method": "ppo",
    "minibatches": 2,
    "epochs": 2,
    "steps": 4,
    "evaluation": {},
}


# --- the estimator


@pytest.mark.parametrize("seed", range(5))
def test_gae_is_the_weighted_sum_of_temporal_differences(seed):
    g = torch.Generator().manual_seed(seed)
    steps, gamma, lam, bootstrap = 1 + seed * 3, 0.93, 0.8, 0.7
    rewards, values = torch.randn(2, steps, generator=g, dtype=torch.float64)
    following = torch.cat([values[1:], torch.tensor([bootstrap], dtype=torch.float64)])
    deltas = rewards + gamma * following - values
    expected = [sum((gamma * lam) ** k * deltas[t + k] for k in range(steps - t)) for t in range(steps)]
    advantages, targets = gae(rewards.tolist(), values, bootstrap, gamma, lam)
    assert advantages.tolist() == pytest.approx([float(x) for x in expected], abs=1e-12)
    assert targets.tolist() == pytest.approx((torch.stack(expected) + values).tolist(), abs=1e-12)


def test_gae_with_lambda_one_regresses_to_the_discounted_return():
    rewards, values = [1.0, 0.0, 2.0], torch.tensor([0.3, -0.2, 0.9])
    _, targets = gae(rewards, values, 4.0, 0.5, 1.0)
    assert targets.tolist() == pytest.approx([1 + 0.25 * 2 + 0.125 * 4, 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4])


# --- the loss


@pytest.mark.parametrize("clip", [0.2, None])
def test_value_loss_is_the_clipped_huber_loss(clip):
    g = torch.Generator().manual_seed(1)
    lengths = (1, 3, 2)
    value_RV = torch.randn(3, 3, generator=g, dtype=torch.float64).mul(2).requires_grad_()
    rows = []
    for i, n in enumerate(lengths):
        old, target = torch.randn(2, 3, generator=g, dtype=torch.float64)
        row = Row(Decision(None, torch.zeros(n, dtype=torch.long)), "rl", 0.0, i, n)
        rows.append(replace(row, values=value_RV[i].detach() + 0.5 * old, targets=2 * target[:n]))
    published = 0.0
    for i, row in enumerate(rows):
        for j in range(lengths[i]):
            v, old, target = value_RV[i, j], row.values[j], row.targets[j]
            errors = [v - target] if clip is None else [v - target, old + torch.clamp(v - old, -clip, clip) - target]
            terms = [torch.where(e.abs() <= 0.7, 0.5 * e**2, 0.7 * (e.abs() - 0.35)) for e in errors]
            published = published + torch.stack(terms).max()
    ours, _ = kernel.value_loss(value_RV, rows, ValueLoss(clip=clip, huber=0.7))
    assert float(ours) == pytest.approx(float(published), abs=1e-12)
    wanted, found = (torch.autograd.grad(x, value_RV, retain_graph=True)[0] for x in (published, ours))
    assert float(wanted.abs().max()) > 0.1
    assert torch.allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("level", ["decision", "mean"])
def test_ratio_of_a_whole_decision_is_clipped_as_one(level):
    """The joint ratio of robot chunks, and GSPO's sequence ratio (arXiv 2507.18071, eq. 5 to 7)."""
    g = torch.Generator().manual_seed(2)
    lengths = [1, 4, 2, 3, 5, 4]
    logits = torch.randn(6, 5, generator=g, dtype=torch.float64).requires_grad_()
    noise = 0.3 * torch.randn(6, 5, generator=g, dtype=torch.float64)
    advantages = [1.0, -0.5, 0.7, -1.2, 0.4, 0.9]
    mask = torch.arange(5)[None] < torch.tensor(lengths)[:, None]
    log_probs = torch.nn.functional.logsigmoid(logits) * mask
    old = log_probs.detach() + noise
    rows = [
        Row(Decision(None, torch.zeros(n, dtype=torch.long)), "rl", a, i, n, old=old[i, :n])
        for i, (n, a) in enumerate(zip(lengths, advantages))
    ]
    published, cut = 0.0, 0
    for i, n in enumerate(lengths):
        difference = (log_probs[i, :n] - old[i, :n]).sum() / (n if level == "mean" else 1)
        r = difference.exp()
        published = published - torch.minimum(r * advantages[i], r.clamp(0.8, 1.2) * advantages[i]) / 6
        cut += int(not 0.8 < float(r) < 1.2)
    # GSPO's gradient is r/|y| per unit; the joint ratio's is r per unit.
    normalise = "sequence" if level == "mean" else "decision"
    stream = {"coefficient": {"kind": "ppo_clip", "level": level}, "normalise": normalise}
    objective = resolve_objective("grpo", {"streams": {"rl": stream}})
    total, _ = kernel.loss(Likelihood(log_probs, mask), rows, plan_step(objective, rows, 0, 5))
    wanted, found = (torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (published, total))
    assert 0 < cut < 6, "some ratios are clipped and some are not"
    assert torch.allclose(found, wanted, atol=1e-12)


def test_gradient_with_a_critic_does_not_depend_on_micro_batches(tiny_qwen):
    policy = load(tiny_qwen(), value_head={"width": 16})
    torch.nn.init.normal_(policy.value_head.layers[-1].weight, std=0.3)
    policy.module.value_head = policy.value_head  # so that `gradients` sees it
    objective = resolve_objective("ppo", {})
    scored = score(sampled_rows(policy, digits(3, "ocr"), 3), "old", policy, 10_000)
    rows = [replace(row, rewards=(float(i % 3),)) for i, row in enumerate(scored)]
    rows = weigh(rows, objective.advantage, policy, 10_000)
    plan = plan_step(objective, rows, 0, 8)
    found = []
    for budget in (1, 300, 10_000):
        accumulate(rows, plan, policy, budget)
        found.append(gradients(policy))
    assert any("value_head" in name and float(x.norm()) > 0 for name, x in found[0].items())
    assert distance(found[0], found[1]) < 1e-5
    assert distance(found[0], found[2]) < 1e-5


# --- credit


class Critic:
    """A policy whose values are written on its prompts."""

    class module:  # noqa: N801
        training = False
        eval = train = staticmethod(lambda *_: None)

    def batch_tokens(self, prompts, rows_per_prompt):
        return 1

    def log_probs(self, batch, entropy="none"):
        values = torch.stack([torch.tensor(batch.prompts[p]) for p in batch.prompt_index_R])
        return Likelihood(torch.zeros(batch.tokens_RU.shape), batch.mask_RU, value_RV=values)


def episode(prompts, steps, cut, final=None):
    """A trajectory whose decisions see `prompts` and earn `steps`, two units per action."""
    decisions = tuple(
        Decision(prompt, torch.zeros(2 * len(rewards), dtype=torch.long), reward=sum(rewards), step_rewards=rewards)
        for prompt, rewards in zip(prompts, steps)
    )
    total = sum(map(sum, steps))
    stop = StopReason.TIME if cut else StopReason.TERMINAL
    return Trajectory(decisions, reward=total, accuracy=0.0, stop=stop, final_prompt=final)


def weighed(trajectories, outputs_scale="none", gamma=0.9, lam=0.6):
    from mmrl.recipe.training import StageConfig
    from mmrl.rollouts.collect import StepBatch

    stage = StageConfig(name="s", method="ppo", steps=1)
    objective = resolve_objective("ppo", {"advantage": {"scale": outputs_scale, "gamma": gamma, "lam": lam}})
    batch = StepBatch(rollouts=tuple(Group(Sample("0", (), "t", {}), (t,)) for t in trajectories))
    rows, _ = make_rows(batch, objective, stage)
    return weigh(score(rows, "old", Critic(), 100), objective.advantage, Critic(), 100)


def test_a_chunk_is_one_step_under_a_critic_of_one_value():
    prompts, steps = ([0.5], [0.2]), ((1.0, 2.0), (4.0,))
    rows = weighed([episode(prompts, steps, cut=False)])
    advantages, targets = gae([3.0, 4.0], torch.tensor([0.5, 0.2]), 0.0, 0.9, 0.6)
    assert [row.advantage.tolist() for row in rows] == [[float(advantages[0])] * 4, [float(advantages[1])] * 2]
    assert [row.targets.tolist() for row in rows] == [[float(t)] for t in targets]


def test_each_action_is_a_step_under_a_critic_of_a_value_an_action():
    prompts, steps = ([0.5, 0.1], [0.2, 9.0]), ((1.0, 2.0), (4.0,))
    rows = weighed([episode(prompts, steps, cut=False)])
    advantages, targets = gae([1.0, 2.0, 4.0], torch.tensor([0.5, 0.1, 0.2]), 0.0, 0.9, 0.6)
    a = advantages.tolist()
    assert [row.advantage.tolist() for row in rows] == [[a[0], a[0], a[1], a[1]], [a[2], a[2]]]
    assert torch.cat([row.targets for row in rows]).tolist() == targets.tolist()


def test_a_time_limit_is_bootstrapped_and_an_end_is_not():
    prompts, steps = ([0.5], [0.2]), ((1.0,), (4.0,))
    ended, cut = (weighed([episode(prompts, steps, c, f)]) for c, f in ((False, None), (True, [10.0])))
    assert float(cut[1].targets[0]) == pytest.approx(float(ended[1].targets[0]) + 0.9 * 10.0)


def test_what_shaping_adds_to_the_reward_falls_to_the_last_step():
    shaped = replace(episode(([0.0], [0.0]), ((1.0,), (4.0,)), cut=False), reward=7.0)
    assert [row.rewards for row in weighed([shaped])] == [(1.0,), (6.0,)]


def test_standardised_advantages_have_mean_zero_and_deviation_one():
    rows = weighed([episode(([0.5], [0.2]), ((1.0,), (float(k),)), cut=False) for k in range(4)], "batch_std")
    firsts = torch.stack([row.advantage[0] for row in rows])
    assert float(firsts.mean()) == pytest.approx(0.0, abs=1e-9)
    assert float(firsts.std()) == pytest.approx(1.0, abs=1e-4)


def test_more_steps_than_values_are_refused():
    with pytest.raises(ConfigError, match=r"policy.value_head.outputs is 2, and a decision has 3 steps"):
        weighed([episode(([0.0, 0.0],), ((1.0, 1.0, 1.0),), cut=False)])


# --- runs


def test_ppo_without_a_critic_is_refused_when_read(tiny_qwen, tmp_path):
    with pytest.raises(UserError, match=r"method .ppo. trains a critic; set policy.value_head"):
        train(recipe(tiny_qwen(), tmp_path, method="ppo"))


def test_a_baseline_without_its_loss_is_refused():
    with pytest.raises(UserError, match="baseline value and the value loss go together"):
        resolve_objective("grpo", {"advantage": {"baseline": "value", "scale": "none"}})


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_resumed_ppo_run_on_episodes_is_the_uninterrupted_one(tiny_qwen, tmp_path, outputs):
    policy = {"path": str(tiny_qwen()), "device": "cpu", "action_bins": 5}
    policy["value_head"] = {"width": 16, "outputs": outputs}
    settings = {**EPISODES, "policy": policy, "checkpoint": {"every": 2, "keep": 5}}
    whole = train(recipe("", tmp_path, "whole", **settings)).folder
    half = recipe("", tmp_path, "half", **settings)
    train({**half, "resume": "auto"})
    for newer in (3, 4):
        folder = tmp_path / "half" / "checkpoints" / f"step_{newer:06d}"
        if folder.is_dir():
            import shutil

            shutil.rmtree(folder)
    again = train({**half, "resume": "auto"}).folder
    assert_same_run(whole, again)
    heads = [(f / "checkpoints/step_000004/model/value_head.safetensors").read_bytes() for f in (whole, again)]
    assert heads[0] == heads[1]


@pytest.mark.slow
def test_the_critic_learns_returns(tiny_qwen, tmp_path):
    """Its explained variance rises from 0, where every value starts."""
    import json

    policy = {"path": str(tiny_qwen()), "device": "cpu", "action_bins": 5, "value_head": {"width": 32}}
    settings = {**EPISODES, "policy": policy, "prompts": 8, "steps": 12, "optim": {"lr": 1e-5, "lr_value": 3e-3}}
    folder = train(recipe("", tmp_path, "critic", **settings)).folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    explained = [line["value/explained_variance"] for line in lines if "value/explained_variance" in line]
    assert len(explained) == 12
    assert explained[-1] > max(0.05, explained[0])


def test_advantage_of_accuracy_weighs_successes_only(tiny_qwen):
    from mmrl.recipe.training import StageConfig
    from mmrl.rollouts.collect import StepBatch

    objective = resolve_objective("filtered_bc", {})
    trajectories = tuple(replace(episode(([0.0],), ((0.4,),), cut=False), accuracy=accuracy) for accuracy in (1.0, 0.0))
    batch = StepBatch(rollouts=(Group(Sample("0", (), "t", {}), trajectories),))
    rows, _ = make_rows(batch, objective, StageConfig(name="s", method="filtered_bc", steps=1))
    assert [row.advantage for row in rows] == [1.0, 0.0]
    assert Standard().of == "reward"


@pytest.mark.parametrize(("accuracy", "rewards"), [(0.0, [(0.0, 0.0), (0.0, 0.0)]), (1.0, [(0.0, 0.0), (0.0, 1.0)])])
def test_a_critic_of_accuracy_sees_no_shaped_reward(accuracy, rewards):
    from mmrl.recipe.training import StageConfig
    from mmrl.rollouts.collect import StepBatch

    objective = resolve_objective("ppo", {"advantage": {"of": "accuracy"}})
    played = replace(episode(([0.0], [0.0]), ((0.1, 0.2), (0.3, 0.7)), cut=False), accuracy=accuracy)
    batch = StepBatch(rollouts=(Group(Sample("0", (), "t", {}), (played,)),))
    rows, _ = make_rows(batch, objective, StageConfig(name="s", method="ppo", steps=1))
    assert [row.rewards for row in rows] == rewards


def test_figures_of_a_critic_are_numpy_s():
    targets, values, losses = np.array([1.0, 2, 3, 6]), np.array([1.0, 1, 2, 4]), np.array([0.0, 0.5, 0.5, 2])
    sums = {
        "value_target_sum": targets.sum(),
        "value_target_square_sum": (targets**2).sum(),
        "value_loss_sum": losses.sum(),
        "value_sum": values.sum(),
        "value_error_square_sum": ((targets - values) ** 2).sum(),
    }
    explained = 1 - np.mean((targets - values) ** 2) / np.var(targets)
    expected = {"loss/value": losses.mean(), "value/mean": values.mean(), "value/explained_variance": explained}
    assert _critic(sums, 4) == pytest.approx(expected)
