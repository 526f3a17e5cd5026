"""The quickstart, shortened, learns from pictures, and nothing from rewards that say nothing (slow: four minutes).

RL's prompts are new in every step: what their answers earn says what the policy knows of rows that it was never shown,
and says it of more rows, and in parts of a right answer, than accuracy on held-out rows does.
"""

import random

import pytest

import mmrl
from tests.support.learning import recipe
from tests.support.runs import metrics

pytestmark = pytest.mark.slow
STEPS = 10


def shorter(folder):
    """The recipe on half of its demonstrations, with a quarter of its RL steps, evaluated around each stage."""
    raw = recipe("quickstart", folder)
    sft, rl = raw["stages"]
    stages = [{**sft, "demonstrations": 32}, {**rl, "steps": 60}]
    return raw | {"stages": stages, "evaluation": {**raw["evaluation"], "every": 1000, "limit": 200}}


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    return mmrl.train(shorter(tmp_path_factory.mktemp("learning")))


def ends(run, figure):
    """The figure's mean over the first ten RL steps, and over the last ten."""
    values = [line[figure] for line in metrics(run.folder) if "reward/mean" in line]
    return sum(values[:STEPS]) / STEPS, sum(values[-STEPS:]) / STEPS


def test_quickstart_gains_by_sft_and_again_by_rl(quickstart):
    summary = quickstart.summary
    tasks = {"classification", "ocr", "grounding", "counting", "multiple_choice", "mean"}
    assert set(summary["start"]) == set(summary["after_sft"]) == set(summary["final"]) == tasks | {"loss"}
    assert summary["after_sft"]["mean"] >= summary["start"]["mean"] + 0.05
    first, last = ends(quickstart, "reward/mean")
    assert last >= first + 0.08
    assert summary["final"]["mean"] >= summary["after_sft"]["mean"] - 0.02


def test_quickstart_does_not_gain_from_rewards_that_ignore_the_answer(quickstart, tmp_path):
    """The quickstart's RL stage from its SFT checkpoint, each answer rewarded by a coin."""
    import vision_rewards

    coin = random.Random(0)
    route = vision_rewards.get_reward("route", params={"iou": {"threshold": 0.5}})

    def by_chance(completion, sample):
        earned = route.for_task(sample.task)(completion, sample.target).score
        return {"reward": float(coin.random() < 0.5), "earned": earned}

    raw = shorter(tmp_path)
    sft, rl = raw["stages"]
    model = quickstart.folder / "checkpoints" / f"step_{sft['steps']:06d}" / "model"
    stages = [{**rl, "steps": 2 * STEPS}]
    chance = mmrl.train(raw | {"policy": {"path": str(model)}, "stages": stages}, reward=by_chance)
    before, after = ends(chance, "reward/by_chance.earned")
    assert before > 0.1
    assert after <= before + 0.03
