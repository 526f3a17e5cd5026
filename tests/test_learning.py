"""Seeded runs that must learn, each beside an arm that must not. Minutes each, so all are slow."""

import json
import random
from pathlib import Path

import pytest
import torch

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
    raw = recipe("quickstart", tmp_path, policy={"path": str(model)}, stages=[{**stage, "steps": 40}])

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
    tasks = ("multiple_choice", "counting", "ordering", "temporal_grounding", "tracking")
    for task in tasks:
        assert taught[task] > start[task]
        assert final[task] >= taught[task] - 0.02
        assert final[f"shuffled/{task}"] < final[task]
    assert final["shuffled/ordering"] <= final["ordering"] - 0.3


def sft_steps():
    return read_yaml(CONFIGS / "quickstart.yaml")["stages"][0]["steps"]


def accuracy(completion, sample):
    import vision_rewards

    reward = vision_rewards.get_reward("route").for_task(sample.task)
    return reward.accuracy(reward(completion, sample.target))


@pytest.fixture(scope="module")
def robot_quickstart(tmp_path_factory):
    return mmrl.train(recipe("quickstart_robot", tmp_path_factory.mktemp("robot")))


def test_robot_quickstart_gains_by_sft_and_again_by_rl(robot_quickstart):
    summary = json.loads((robot_quickstart.folder / "summary.json").read_text())
    start, taught, final = (summary[when]["mean"] for when in ("start", "after_sft", "final"))
    assert start < 0.2
    assert taught >= start + 0.2
    assert final >= taught + 0.1
    lines = [json.loads(line) for line in (robot_quickstart.folder / "metrics.jsonl").read_text().splitlines()]
    gaps = [line["gap/log_prob_max"] for line in lines if "gap/log_prob_max" in line]
    assert len(gaps) == read_yaml(CONFIGS / "quickstart_robot.yaml")["stages"][1]["steps"]
    assert max(gaps) < 1e-4


def test_robot_quickstart_does_not_gain_from_rewards_that_ignore_the_world(robot_quickstart, tmp_path, monkeypatch):
    """The RL stage from its SFT checkpoint, with noise in place of the progress towards the block."""
    from robotics.tabletop import TabletopEnv

    noise = torch.Generator().manual_seed(0)
    monkeypatch.setattr(TabletopEnv, "_potential", lambda env, world: torch.rand(env.num_envs, generator=noise))
    raw = recipe("quickstart_robot", tmp_path)
    sft, rl = raw["stages"]
    model = robot_quickstart.folder / "checkpoints" / f"step_{sft['steps']:06d}" / "model"
    raw |= {"policy": {**raw["policy"], "path": str(model)}, "stages": [{**rl, "steps": 20}]}
    summary = mmrl.train(raw).summary
    assert summary["start"]["mean"] == pytest.approx(robot_quickstart.summary["after_sft"]["mean"], abs=1e-9)
    assert summary["final"]["mean"] <= summary["start"]["mean"] + 0.05


def test_pi0_gains_by_sft_and_again_by_flow_sde(tmp_path):
    """The recipe with half of its RL steps."""
    from mmrl.policies.tiny import write_tiny

    raw = recipe("robot_pi0", tmp_path)
    raw["policy"] = {**raw["policy"], "path": str(write_tiny("pi0", tmp_path / "tiny_pi0"))}
    sft, rl = raw["stages"]
    raw["stages"] = [sft, {**rl, "steps": rl["steps"] // 2}]
    summary = mmrl.train(raw).summary
    start, taught, final = (summary[when]["mean"] for when in ("start", "after_sft", "final"))
    assert start < 0.2
    assert taught >= start + 0.3
    assert final >= taught + 0.05
