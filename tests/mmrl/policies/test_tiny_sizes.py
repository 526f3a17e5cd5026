"""`mmrl tiny` with sizes of one's own: the robot's, and those that make no model."""

import pytest
import torch

from mmrl.cli import main
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.policies.opening import load_policy
from mmrl.policies.tiny import families, sizes_of, write_tiny
from mmrl.recipe.policies.registry import policy_settings


def load(folder, type):
    return load_policy(policy_settings(path=str(folder), type=type, device="cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["openvla", "openvla_oft", "pi0", "pi05"])
def test_a_checkpoint_fits_a_robot_of_other_sizes(capsys, workplace, family):
    """Those of PushCube: 4 action dimensions, 25 values of state."""
    assert main(["tiny", family, "model", "--action-dim", "4", "--state-dim", "25"]) == 0
    assert capsys.readouterr().out.strip() == "model"
    policy = load("model", family)
    assert policy.units_per_action(4) == 4
    actions = torch.tensor([[[0.5, -0.5, 0.25, 1.0]]])
    read = policy.actions(policy.action_units(actions), 4)
    assert torch.allclose(read, actions, atol=1 / 128)
    with pytest.raises(ConfigError, match=rf"or make a checkpoint of its sizes: mmrl tiny {family} DIR --action-dim 7"):
        policy.units_per_action(7)


def test_the_horizon_and_the_chunk_are_sizes(workplace):
    assert main(["tiny", "pi0", "--horizon", "10", "flow"]) == 0
    assert load("flow", "pi0").horizon == 10
    assert main(["tiny", "openvla_oft", "oft", "--chunk=2"]) == 0
    assert load("oft", "openvla_oft").units == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["qwen2_5_vl", "x", "--state-dim", "4"], "unknown size of qwen2_5_vl 'state_dim'."),
        (["openvla", "x", "--chunk", "4"], "unknown size of openvla 'chunk'."),
        (["openvla", "x", "--heads", "3"], "heads 3 of openvla is no multiple of kv_heads 4; change one"),
        (["pi0", "x", "--patch", "5"], "image 28 of pi0 is no multiple of patch 5; change one"),
        (["openvla", "x", "--vocab", "300"], "vocab 300 has no room for"),
        (["qwen3_vl", "x", "--vocab", "20"], "vocab 20 is below 270"),
        (["qwen2_vl", "x", "--head-dim", "3"], "heads have 3 dimensions; rotary positions need an even number"),
    ],
)
def test_sizes_that_make_no_model_are_refused_in_a_line(capsys, workplace, arguments, said):
    assert main(["tiny", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mmrl: error: ")
    assert error.count("\n") == 1
    assert said in error
    assert not (workplace / "x").exists()


@pytest.mark.parametrize("value", ["0", "-3", "2.5", "many"])
def test_a_size_is_a_whole_number(capsys, workplace, value):
    with pytest.raises(SystemExit) as found:
        main(["tiny", "pi0", "x", f"--horizon={value}"])
    assert found.value.code == 2
    assert f"'{value}' is not a whole number from 1 on" in capsys.readouterr().err


def test_every_family_has_its_sizes_and_refuses_others(tmp_path):
    for family in families():
        assert {"hidden", "layers", "vocab"} <= set(sizes_of(family))
        with pytest.raises(UserError, match=rf"unknown size of {family} 'widht'"):
            write_tiny(family, tmp_path / family, size={"widht": 3})
