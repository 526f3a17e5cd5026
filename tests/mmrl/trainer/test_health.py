"""Signs that a run learns nothing more, figures that are not finite, and the checkpoint from before."""

import pytest
import torch

from mmrl.contracts.errors import ConfigError, DeadPolicy
from mmrl.contracts.types import Decision, Group, Sample, Trajectory
from mmrl.evaluation.loss import LossSums
from mmrl.recipe.health import HealthConfig
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.training import CheckpointConfig, StageConfig
from mmrl.trainer import checkpoint
from mmrl.trainer.health import SIGNS, Health, Proven, signs_of
from mmrl.trainer.step import accumulate, plan_step, score
from tests.support.policy import demo_rows, digits, load, sampled_rows

STAGE = StageConfig(name="rl", method="grpo", steps=9, minibatches=2, epochs=2)
FINE = {"optim/skipped": 0.0, "optim/grad_norm": 0.3}


def groups(rewards=(0.0, 1.0), tokens=((1, 2), (3,)), accuracy=None):
    trajectories = [
        Trajectory((Decision(None, torch.tensor(ids)),), reward=reward, accuracy=accuracy)
        for reward, ids in zip(rewards, tokens)
    ]
    return [Group(Sample("0", (), "ocr", {}), (trajectory,)) for trajectory in trajectories]


CASES = {
    "nothing": (FINE, groups(), set()),
    "one update of four left out": ({**FINE, "optim/skipped": 1.0}, groups(), set()),
    "every update left out": ({**FINE, "optim/skipped": 4.0}, groups(), {"skipped"}),
    "no gradient": ({**FINE, "optim/grad_norm": 0.0}, groups(), {"no_gradient"}),
    "equal rewards": (FINE, groups(rewards=(0.5, 0.5)), {"no_variance"}),
    "all of it right": ({**FINE, "optim/grad_norm": 0.0}, groups(rewards=(1.0, 1.0)), set()),
    "a reward of 1 that is not right": (FINE, groups(rewards=(1.0, 1.0), accuracy=0.0), {"no_variance"}),
    "right for another reward": ({**FINE, "optim/grad_norm": 0.0}, groups(rewards=(3.0, 3.0), accuracy=1.0), set()),
    "one reward": (FINE, groups()[:1], set()),
    "nothing sampled": (FINE, [], set()),
    "one token": (FINE, groups(tokens=((7, 7), (7,))), {"one_token"}),
    "one answer of one token": (FINE, groups(rewards=(0.0,), tokens=((7, 7),)), set()),
    "equal answers of two tokens": (FINE, groups(tokens=((7, 8), (7, 8))), set()),
    "equal actions that are numbers": (FINE, groups(tokens=((0.0, 0.0), (0.0,))), set()),
}


@pytest.mark.parametrize("case", CASES)
def test_signs(case):
    metrics, sampled, expected = CASES[case]
    assert signs_of(STAGE, metrics, sampled) == expected


def test_rewards_that_nothing_is_learnt_from_are_no_sign():
    stage = StageConfig(name="x", method="dagger", steps=1)
    assert signs_of(stage, FINE, groups(rewards=(0.0, 0.0))) == set()


def test_a_sign_is_said_and_then_ends_the_run():
    lines = []
    health = Health(HealthConfig(no_variance={"warn": 2, "stop": 4}), lines.append)
    flat = groups(rewards=(0.0, 0.0))
    health.observe(STAGE, FINE, flat, "")
    assert (lines, health.alarmed) == ([], False)
    health.observe(STAGE, FINE, groups(), "")
    for _ in range(3):
        health.observe(STAGE, FINE, flat, "")
    assert lines == [
        "for 2 steps in a row all that was sampled had the same reward; after 4 the run stops (health.no_variance)"
    ]
    assert health.alarmed
    resumed = Health(health.config, lines.append)
    resumed.load_state_dict(health.state_dict())
    with pytest.raises(DeadPolicy, match=r"for 4 steps in a row .*, and health\.no_variance\.stop is 4") as error:
        resumed.observe(STAGE, FINE, flat, "")
    assert error.value.sign == "no_variance"


def test_defaults_say_so_before_they_stop_and_null_does_neither():
    for sign in SIGNS:
        patience = getattr(HealthConfig(), sign)
        assert patience.warn < patience.stop
    lines = []
    health = Health(HealthConfig(skipped={"warn": None, "stop": None}), lines.append)
    for _ in range(50):
        health.observe(STAGE, {**FINE, "optim/skipped": 4.0}, groups(), "a.weight")
    assert lines == []


def test_the_first_gradient_that_is_not_finite_is_named():
    health = Health(HealthConfig(skipped={"stop": 1}), print)
    with pytest.raises(DeadPolicy, match=r"its gradient was not finite \(that of 'a.weight' first\)"):
        health.observe(STAGE, {**FINE, "optim/skipped": 4.0}, groups(), "a.weight")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("health.no_varance={}", "health.no_varance: unknown key 'no_varance'. Did you mean 'no_variance'?"),
        ("health.skipped.halt=3", "health.skipped.halt: unknown key 'halt'."),
        ("health.skipped={warn: 5, stop: 2}", "health.skipped: warn 5 is above stop 2"),
        ("health.skipped.stop=0", "health.skipped.stop: Input should be greater than 0"),
    ],
)
def test_settings_are_checked(override, line):
    data = {"train": [{"type": "digits"}]}
    recipe = {"name": "x", "policy": {"path": "p"}, "data": data, "method": "grpo", "steps": 1}
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe, [override])
    assert str(error.value).startswith(line)


def test_rotation_keeps_the_checkpoint_that_is_known_to_be_healthy(tmp_path):
    proven = Proven()
    for step in range(1, 5):
        folder = tmp_path / f"step_{step:06d}"
        folder.mkdir()
        (folder / "state.json").write_text("{}")
        proven.saved = folder.name
        if step == 2:
            proven.prove()
        checkpoint.rotate(tmp_path, CheckpointConfig(keep=1), {None, proven.healthy})
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step_000002", "step_000004"]


OBJECTIVE = resolve_objective("chord_mu", {})


@pytest.fixture
def broken(tiny_qwen):
    """A policy and rows of it, and then a weight that is no number."""
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = [*sampled_rows(policy, digits(1, "ocr"), 2), *demo_rows(policy, digits(1, "ocr"))]
    with torch.no_grad():
        next(p for n, p in policy.module.named_parameters() if "language_model.norm" in n)[0] = torch.nan
    return policy, rows


def test_log_probs_that_are_not_finite_train_nothing(broken):
    policy, rows = broken
    with pytest.raises(DeadPolicy, match=r"log-probs \(old\) are not finite"):
        score(rows, "old", policy, 1000)
    with pytest.raises(DeadPolicy, match="log-probs of the step's units are not finite"):
        accumulate(rows, plan_step(OBJECTIVE, rows, 0, 8), policy, 1000)


def test_a_loss_that_is_not_finite_stops(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = sampled_rows(policy, digits(1, "ocr"), 2)
    for row in rows:
        object.__setattr__(row, "advantage", float("inf"))
    with pytest.raises(DeadPolicy, match=r"the loss is (nan|-?inf)"):
        accumulate(rows, plan_step(OBJECTIVE, rows, 0, 8), policy, 1000)


def test_held_out_loss_is_no_figure_of_a_dead_policy(broken, monkeypatch):
    policy, rows = broken
    monkeypatch.setattr("mmrl.evaluation.loss.demonstrate", lambda *_: Group(None, (Trajectory((rows[-1].decision,)),)))
    with pytest.raises(DeadPolicy, match="log-probs of demonstrations are not finite"):
        LossSums().add("held out", policy, [None], 1000, None)
