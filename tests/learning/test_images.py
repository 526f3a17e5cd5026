"""The quickstart, shortened, learns from pictures, and nothing from rewards that say nothing (slow: five minutes)."""

import json
import random

import pytest

import mmrl
from tests.support.learning import recipe

pytestmark = pytest.mark.slow


def shorter(folder):
    """The recipe with half of its RL steps, evaluated on half of the rows before and after each stage."""
    raw = recipe("quickstart", folder)
    sft, rl = raw["stages"]
    stages = [sft, {**rl, "steps": rl["steps"] // 2}]
    evaluation = {**raw["evaluation"], "every": sum(stage["steps"] for stage in stages), "limit": 250}
    return raw | {"stages": stages, "evaluation": evaluation}


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    return mmrl.train(shorter(tmp_path_factory.mktemp("learning")))


def test_quickstart_gains_by_sft_and_again_by_rl(quickstart):
    summary = json.loads((quickstart.folder / "summary.json").read_text())
    tasks = {"classification", "ocr", "grounding", "counting", "multiple_choice", "mean"}
    assert set(summary["start"]) == set(summary["after_sft"]) == set(summary["final"]) == tasks | {"loss"}
    assert summary["after_sft"]["mean"] >= summary["start"]["mean"] + 0.05
    assert summary["final"]["mean"] >= summary["after_sft"]["mean"] + 0.04


def test_quickstart_does_not_gain_from_rewards_that_ignore_the_answer(quickstart, tmp_path):
    """The quickstart's RL stage from its SFT checkpoint, each answer rewarded by a coin."""
    coin = random.Random(0)
    raw = shorter(tmp_path)
    sft, rl = raw["stages"]
    model = quickstart.folder / "checkpoints" / f"step_{sft['steps']:06d}" / "model"
    raw |= {"policy": {"path": str(model)}, "stages": [{**rl, "steps": 20}]}

    def by_chance(completion, sample):
        return {"reward": float(coin.random() < 0.5), "accuracy": accuracy(completion, sample)}

    summary = mmrl.train(raw, reward=by_chance).summary
    assert summary["start"]["mean"] == pytest.approx(quickstart.summary["after_sft"]["mean"], abs=1e-9)
    assert summary["final"]["mean"] <= summary["start"]["mean"] + 0.03


def accuracy(completion, sample):
    import vision_rewards

    reward = vision_rewards.get_reward("route").for_task(sample.task)
    return reward.accuracy(reward(completion, sample.target))
