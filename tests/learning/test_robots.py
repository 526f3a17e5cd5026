"""The robot quickstart, shortened, learns from the world, and learns nothing from noise (slow: three minutes)."""

import json

import pytest
import torch

import mmrl
from tests.support.learning import recipe

pytestmark = pytest.mark.slow


def shorter(folder):
    """The recipe with two thirds of its SFT steps, and a third of its RL steps on half of their episodes."""
    raw = recipe("quickstart_robot", folder)
    sft, rl = raw["stages"]
    return raw | {"stages": [{**sft, "steps": 80}, {**rl, "steps": 28, "prompts": 128}]}


@pytest.fixture(scope="module")
def robot_quickstart(tmp_path_factory):
    return mmrl.train(shorter(tmp_path_factory.mktemp("robot")))


def test_robot_quickstart_gains_by_sft_and_again_by_rl(robot_quickstart):
    summary = json.loads((robot_quickstart.folder / "summary.json").read_text())
    start, taught, final = (summary[when]["mean"] for when in ("start", "after_sft", "final"))
    assert start < 0.2
    assert taught >= start + 0.05
    assert final >= taught + 0.05
    lines = [json.loads(line) for line in (robot_quickstart.folder / "metrics.jsonl").read_text().splitlines()]
    gaps = [line["gap/log_prob_max"] for line in lines if "gap/log_prob_max" in line]
    assert len(gaps) == 28
    assert max(gaps) < 1e-4


def test_robot_quickstart_does_not_gain_from_rewards_that_ignore_the_world(robot_quickstart, tmp_path, monkeypatch):
    """The RL stage from its SFT checkpoint, with noise in place of the progress towards the block."""
    from robotics.tabletop import TabletopEnv

    noise = torch.Generator().manual_seed(0)
    monkeypatch.setattr(TabletopEnv, "_potential", lambda env, world: torch.rand(env.num_envs, generator=noise))
    raw = shorter(tmp_path)
    sft, rl = raw["stages"]
    model = robot_quickstart.folder / "checkpoints" / f"step_{sft['steps']:06d}" / "model"
    raw |= {"policy": {**raw["policy"], "path": str(model)}, "stages": [{**rl, "steps": 8}]}
    summary = mmrl.train(raw).summary
    assert summary["start"]["mean"] == pytest.approx(robot_quickstart.summary["after_sft"]["mean"], abs=1e-9)
    assert summary["final"]["mean"] <= summary["start"]["mean"] + 0.03
