"""One recipe, answers and episodes at once: both are rolled out, demonstrated, learnt from and held out."""

import json

import pytest

from mmrl import train
from mmrl.data.mixture import open_mixture
from mmrl.policies.opening import load_policy
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.collect import Builder
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from mmrl.trainer.rows import make_rows
from mmrl.trainer.step import accumulate, plan_step
from tests.support.engines import hf
from tests.support.paths import ROOT
from tests.support.policy import gradients

CONFIG = ROOT / "configs" / "robot_and_vision.yaml"


@pytest.fixture
def overrides(tiny_qwen, tmp_path):
    """Two tiny steps of the recipe."""
    return [
        f"output={tmp_path}",
        f"policy.path={tiny_qwen()}",
        "policy.device=cpu",
        "steps=2",
        "prompts=4",
        "demonstrations=4",
        "simulators.table.max_steps=4",
        "simulators.table.image_size=28",
        "data.eval.0.size=4",
        "data.eval.1.size=4",
        "rewards=[{name: 'tests.support.runs:reward'}]",
        "tracking.console=none",
        "tracking.rollouts_every=1",
    ]


@pytest.mark.slow
def test_two_steps_hold_both_and_figures_of_both(overrides):
    outcome = train(load_recipe(CONFIG, overrides))
    for when in ("start", "final"):
        assert {"classification", "counting", "table"} < set(outcome.summary[when])
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss/total" in line]
    assert len(steps) == 2
    assert all(line["optim/skipped"] == 0 and line["optim/grad_norm"] > 0 for line in steps)
    played = [line for line in steps if "episode/return" in line]
    answered = [line for line in steps if {"accuracy/classification", "accuracy/counting"} & set(line)]
    assert played
    assert answered
    assert "Sampled rollouts" in (outcome.folder / "report.html").read_text()


@pytest.mark.slow
def test_groups_and_demonstrations_of_both_contribute_to_one_gradient(overrides):
    recipe = load_recipe(CONFIG, [*overrides, "prompts=8", "demonstrations=8"])
    [stage] = recipe.stages
    policy = load_policy(recipe.policy)
    preparer = Preparer(policy, Rewarder(recipe.rewards))
    mixture = open_mixture(recipe.data, recipe.seed, preparer.check)
    objective = stage.objective
    builder = Builder(policy, hf(policy), mixture, preparer, Simulators(recipe.simulators), stage, objective)
    batch = builder.collect(1)
    assert {bool(group.sample.simulator) for group in batch.rollouts} == {True, False}
    rows, _ = make_rows(batch, objective, stage)
    plan = plan_step(objective, rows, 0, stage.rollout.max_new_tokens)
    sizes, total = {}, 0.0
    for stream in ("rl", "demo"):
        for restrict in (None, "action"):
            mine = [row for row in rows if (row.stream, row.decision.restrict) == (stream, restrict)]
            accumulate(mine, plan, policy, recipe.micro_tokens)
            found = gradients(policy)
            sizes[stream, restrict] = sum(float(x.square().sum()) for x in found.values()) ** 0.5
            total = {k: x + (total[k] if total else 0.0) for k, x in found.items()}
    assert all(size > 1e-3 for size in sizes.values()), sizes
    accumulate(rows, plan, policy, recipe.micro_tokens)
    whole = gradients(policy)
    assert all((whole[k] - total[k]).norm() <= 1e-4 * (1 + whole[k].norm()) for k in whole)
