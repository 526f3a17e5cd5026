"""A policy and a simulator that both convert the gripper's command are refused; one of them alone is what it takes."""

import json
import shutil

import pytest
import torch
import yaml

from mmrl.contracts.errors import ConfigError
from mmrl.policies.openvla.action_tokens import ActionTokens
from mmrl.policies.statistics import Bounds
from mmrl.recipe.schema import load_recipe
from tests.support.errors import content, refused


def recipe(policy, simulator, **changes):
    params = {} if policy is None else {"gripper": policy}
    option = {} if simulator is None else {"gripper": simulator}
    return {
        "name": "grippers",
        "policy": {"type": "openvla", "path": "model", "device": "cpu", "params": params},
        "simulators": {"table": {"type": "libero"}, "spatial": {"type": "libero", **option}},
        "data": {
            "train": [{"type": "episodes", "simulator": "spatial", "size": 8}],
            "eval": [{"type": "episodes", "simulator": "spatial", "first": 100, "size": 2}],
        },
        "method": "grpo",
        "steps": 1,
        "prompts": 2,
        "rollout": {"n": 2},
        **changes,
    }


EXPECTED = (
    "policy.params.gripper 'zero_one_open' and simulators.spatial.gripper 'open_fraction' both convert the gripper's "
    "command, so that it would open where it should close; set policy.params.gripper to as_is, or "
    "simulators.spatial.gripper to close_positive"
)


def test_both_are_refused_when_the_recipe_is_read():
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe("zero_one_open", "open_fraction"))
    assert str(caught.value).endswith(EXPECTED)


def opens(command, reading):
    """LIBERO's reading of a command (docs/simulators.md)."""
    return command > 0.5 if reading == "open_fraction" else command < 0


def command_of(gripper):
    """What a model's 1 becomes: the first of the last ids is the highest value."""
    bounds = Bounds(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([False]))
    return ActionTokens(1000, 256, bounds, gripper).decode(torch.tensor([[1000 - 256]])).item()


@pytest.mark.parametrize(
    ("policy", "simulator", "opened"),
    [
        ("zero_one_open", None, True),
        ("zero_one_open", "close_positive", True),
        ("as_is", "open_fraction", True),
        (None, "open_fraction", True),
        # Neither converts: LIBERO's own 1 closes.
        (None, None, False),
    ],
)
def test_one_alone_is_read_and_does_what_it_says(policy, simulator, opened):
    """The model says 1: open where one of both converts."""
    read = load_recipe(recipe(policy, simulator))
    reading = read.simulators["spatial"].value("gripper")
    assert opens(command_of(read.policy.params.gripper), reading) == opened


def test_the_pair_that_is_refused_would_close():
    assert not opens(command_of("zero_one_open"), "open_fraction")


@pytest.mark.parametrize("command", [["train"], ["train", "--dry-run"], ["eval"]])
def test_what_the_checkpoint_was_saved_with_counts_too(capsys, workplace, tiny_qwen, command):
    """Read with `open_fraction` and no gripper, the recipe is sound; the checkpoint says `zero_one_open`."""
    shutil.copytree(tiny_qwen("openvla"), workplace / "model")
    path = workplace / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "params": {"gripper": "zero_one_open"}}))
    tracking = {"console": "none", "tensorboard": False}
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(recipe(None, "open_fraction", tracking=tracking)))
    before = content(workplace)
    name, *options = command
    assert refused(capsys, name, "recipe.yaml", *options) == [EXPECTED]
    assert content(workplace) == before
