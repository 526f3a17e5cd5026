"""Runs whose policy dies: one line with the step, the stage, the tensor, the healthy checkpoint and how to go on."""

import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import mmrl
from mmrl.contracts.errors import DeadPolicy
from mmrl.trainer.optim import Optimizer
from tests.support.errors import refused
from tests.support.runs import recipe


@pytest.fixture(scope="module")
def dead_model(tiny_qwen, tmp_path_factory):
    """A checkpoint with one weight that is no number."""
    folder = tmp_path_factory.mktemp("dead") / "model"
    shutil.copytree(tiny_qwen("qwen2_5_vl"), folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(weights) if "layers.1" in name and "up_proj" in name)
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_evaluation_of_a_dead_policy_gives_no_figure(capsys, dead_model, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(dead_model, tmp_path)))
    (line,) = refused(capsys, "eval", str(path), "--output", str(tmp_path / "figures.json"))
    assert line.startswith(
        f"'{dead_model}': log-probs of what was sampled are not finite; the first tensor that is not"
    )
    assert "up_proj" in line
    assert not (tmp_path / "figures.json").exists()


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_a_policy_that_is_dead_from_the_start_trains_nothing(dead_model, tmp_path, method):
    settings = recipe(dead_model, tmp_path, method=method, evaluation={"every": 100}, prompts=2)
    settings["data"]["eval"] = []
    with pytest.raises(DeadPolicy, match=rf"after step 0, stage {method}: log-probs .* is so before the first step"):
        mmrl.train(settings)
    assert not (tmp_path / "run").exists()


def test_weights_thrown_away_by_a_step_stop_the_next_one(tiny_qwen, tmp_path):
    """Two healthy steps, then one that throws the weights to 1e30, whose checkpoint is whole, and dead."""
    settings = recipe(tiny_qwen("qwen2_5_vl"), tmp_path, method="sft", steps=6)
    settings |= {"optim": {"lr": 1e30, "warmup": 0}, "checkpoint": {"every": 1, "keep": 1, "best": None}}
    settings["data"]["eval"] = []
    settings["stages"] = [
        {"name": "well", "steps": 2, "optim": {"lr": 1e-4}},
        {"name": "wild", "steps": 4},
    ]
    with pytest.raises(DeadPolicy) as error:
        mmrl.train(settings)
    folder = tmp_path / "run" / "checkpoints"
    line, healthy = str(error.value), folder / "step_000002"
    assert line.startswith("after step 3, stage wild: log-probs of the step's units are not finite; ")
    assert (
        f"the last healthy checkpoint is '{folder / 'step_000002'}': go on with resume={folder / 'step_000002'}" in line
    )
    assert "\n" not in line
    assert sorted(path.name for path in folder.iterdir()) == ["step_000002", "step_000003"]
    settings["stages"][1]["optim"] = {"lr": 1e-4}
    done = mmrl.train({**settings, "resume": str(healthy), "checkpoint": {"keep": 1, "best": None}})
    assert done.summary["steps"] == 6


def test_weights_that_are_not_finite_are_not_saved(tiny_qwen, tmp_path, monkeypatch):
    step = Optimizer.step

    def overflow(self):
        figures = step(self)
        with torch.no_grad():
            self.parameters[0][1].view(-1)[0] = torch.inf
        return figures

    monkeypatch.setattr(Optimizer, "step", overflow)
    settings = recipe(tiny_qwen("qwen2_5_vl"), tmp_path, method="sft", steps=2, demonstrations=1)
    settings |= {"checkpoint": {"every": 1, "best": None}}
    settings["data"]["eval"] = []
    with pytest.raises(DeadPolicy, match=r"after step 1, stage sft: trained weights are not finite; the first tensor"):
        mmrl.train(settings)
    assert not list((tmp_path / "run" / "checkpoints").glob("step_*"))


def test_a_sign_that_lasts_stops_the_run_and_keeps_the_checkpoint_from_before_it(tiny_qwen, tmp_path):
    settings = recipe(tiny_qwen("qwen2_5_vl"), tmp_path, rewards=[{"name": "tests.support.runs:half"}], steps=9)
    settings |= {"health": {"no_variance": {"warn": 3, "stop": 5}}, "checkpoint": {"every": 1, "keep": 1, "best": None}}
    settings["data"]["eval"] = []
    with pytest.raises(DeadPolicy) as error:
        mmrl.train(settings)
    assert str(error.value).startswith(
        "after step 4, stage grpo: for 5 steps in a row all that was sampled had the same reward, and "
        "health.no_variance.stop is 5; the last healthy checkpoint is "
    )
    assert str(error.value).endswith("step_000001 and a lower optim.lr or another health.no_variance.stop")
