"""Seeded runs that must learn, each beside an arm that must not. Minutes each, so all are slow."""

import json
import random
from pathlib import Path

import pytest

import mmrl
from mmrl.reading import read_yaml

pytestmark = pytest.mark.slow
CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def recipe(name, folder, **changes):
    """A checked-in recipe that writes into `folder` and prints nothing."""
    raw = read_yaml(CONFIGS / f"{name}.yaml") | {"output": str(folder)}
    raw["tracking"] = {"console": "none", "tensorboard": False}
    return raw | changes


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    return mmrl.train(recipe("quickstart", tmp_path_factory.mktemp("learning")))


def test_quickstart_gains_by_sft_and_again_by_rl(quickstart):
    summary = json.loads((quickstart.folder / "summary.json").read_text())
    tasks = {"classification", "ocr", "grounding", "counting", "multiple_choice", "mean"}
    assert set(summary["start"]) == set(summary["after_sft"]) == set(summary["final"]) == tasks
    assert summary["after_sft"]["mean"] >= summary["start"]["mean"] + 0.05
    assert summary["final"]["mean"] >= summary["start"]["mean"] + 0.15
    assert summary["final"]["mean"] >= summary["after_sft"]["mean"] + 0.05


def test_quickstart_does_not_gain_from_rewards_that_ignore_the_answer(quickstart, tmp_path):
    """The quickstart's RL stage from its SFT checkpoint, each answer rewarded by a coin."""
    coin = random.Random(0)
    stage = read_yaml(CONFIGS / "quickstart.yaml")["stages"][1]
    model = quickstart.folder / "checkpoints" / f"step_{sft_steps():06d}" / "model"
    raw = recipe("quickstart", tmp_path, policy={"path": str(model)}, stages=[{**stage, "steps": 60}])

    def by_chance(completion, sample):
        return {"reward": float(coin.random() < 0.5), "accuracy": accuracy(completion, sample)}

    summary = mmrl.train(raw, reward=by_chance).summary
    assert summary["start"]["mean"] == pytest.approx(quickstart.summary["after_sft"]["mean"], abs=1e-9)
    assert summary["final"]["mean"] <= summary["start"]["mean"] + 0.03


def test_video_quickstart_learns_what_happens_when(tmp_path):
    """Time is used: with its frames in random order, the same policy no longer knows the order of events."""
    summary = mmrl.train(recipe("quickstart_video", tmp_path)).summary
    start, taught, final = (summary[when] for when in ("start", "after_sft", "final"))
    assert taught["mean"] >= start["mean"] + 0.4
    assert final["mean"] >= taught["mean"] + 0.03
    for task in ("multiple_choice", "counting", "ordering", "temporal_grounding", "tracking"):
        assert taught[task] > start[task]
    assert final["shuffled/ordering"] <= final["ordering"] - 0.3


def sft_steps():
    return read_yaml(CONFIGS / "quickstart.yaml")["stages"][0]["steps"]


def accuracy(completion, sample):
    import vision_rewards

    reward = vision_rewards.get_reward("route").for_task(sample.task)
    return reward.accuracy(reward(completion, sample.target))


def test_a_policy_learns_to_act_from_the_expert_and_goes_on_by_rl(tmp_path):
    outcome = mmrl.train(recipe("robot_slice", tmp_path))
    summary = outcome.summary
    assert summary["start"]["mean"] < 0.15
    assert summary["after_sft"]["mean"] >= summary["start"]["mean"] + 0.15
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    rl = [line for line in lines if "episode/success_once" in line]
    assert len(rl) == 50
    assert max(line["gap/log_prob_max"] for line in rl) < 1e-4
