"""Recorded actions that a recipe's policy or simulators would take for others are refused, with the cure."""

import json
import shutil

import numpy as np
import pytest

from mmrl.contracts.errors import ConfigError, UserError
from mmrl.data.mixture import open_dataset
from mmrl.data.robot.actions import GRIPPERS
from mmrl.recipe.data import ManiSkillData
from mmrl.recipe.schema import load_recipe
from mmrl.setup import open_policy
from robotics.settings import SETTINGS
from tests.support.robot_data import write_maniskill

# What opens a gripper, and what closes it (docs/simulators.md).
OPENS = {
    "close_positive": lambda command: command < 0,
    "open_positive": lambda command: command == 1,
    "open_fraction": lambda command: command > 0.5,
}
CLOSES = {
    "close_positive": lambda command: command > 0,
    "open_positive": lambda command: command == -1,
    "open_fraction": lambda command: command <= 0.5,
}


def recipe(data, *simulators, **params):
    return {
        "name": "recorded",
        "policy": {"type": "openvla", "path": "model", "device": "cpu", "params": params},
        "simulators": {f"s{i}": one for i, one in enumerate(simulators)},
        "data": {"train": [{"path": "nowhere", **data}]},
        "method": "sft",
        "steps": 1,
    }


def refused(*given, **params):
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe(*given, **params))
    assert "\n" not in str(caught.value)
    return str(caught.value)


READINGS = [
    (kind, reading) for kind in ("libero", "maniskill") for reading in SETTINGS[kind].options["gripper"].choices
]


@pytest.mark.parametrize(("kind", "reading"), READINGS)
@pytest.mark.parametrize("wanted", GRIPPERS)
def test_a_recording_is_read_where_its_commands_do_in_the_simulator_what_they_say(kind, wanted, reading):
    file = {"libero": "libero_hdf5", "maniskill": "maniskill_h5"}[kind]
    closed, opened = GRIPPERS[wanted]
    given = recipe({"type": file, "gripper_to": wanted}, {"type": kind, "gripper": reading})
    if OPENS[reading](opened) and CLOSES[reading](closed):
        load_recipe(given)
        return
    with pytest.raises(ConfigError) as caught:
        load_recipe(given)
    assert str(caught.value).endswith(
        f"data.train.0.gripper_to '{wanted}' and simulators.s0.gripper '{reading}' differ, so that the simulator would "
        f"take what is learnt for another command; set data.train.0.gripper_to to {reading}"
    )
    given["data"]["train"][0]["gripper_to"] = reading
    load_recipe(given)


def test_both_sides_defaults_count():
    libero, maniskill = {"type": "libero_hdf5"}, {"type": "maniskill_h5"}
    load_recipe(recipe(libero, {"type": "libero"}))
    load_recipe(recipe(maniskill, {"type": "maniskill"}))
    said = refused(libero, {"type": "libero", "gripper": "open_fraction"})
    assert "data.train.0.gripper 'close_positive' and simulators.s0.gripper 'open_fraction' differ" in said
    said = refused({**maniskill, "gripper_to": "close_positive"}, {"type": "maniskill"})
    assert "data.train.0.gripper_to 'close_positive' and simulators.s0.gripper 'open_positive' differ" in said
    said = refused({"type": "lerobot", "gripper": "open_fraction"}, {"type": "tabletop"})
    assert "data.train.0.gripper 'open_fraction' and simulators.s0.gripper 'close_positive' differ" in said


@pytest.mark.parametrize(
    ("data", "simulators"),
    [
        ({"type": "lerobot"}, [{"type": "libero"}]),
        ({"type": "lerobot", "gripper": "open_positive"}, [{"type": "libero"}, {"type": "maniskill"}]),
        ({"type": "libero_hdf5"}, [{"type": "libero", "gripper": "open_fraction"}, {"type": "libero"}]),
        ({"type": "maniskill_h5"}, [{"type": "tabletop"}]),
        ({"type": "maniskill_h5", "gripper": "close_positive"}, [{"type": "maniskill", "robot": "xarm6_robotiq"}]),
        ({"type": "maniskill_h5", "gripper": None}, [{"type": "maniskill"}]),
        ({"type": "libero_hdf5"}, []),
    ],
    ids=["unsaid", "one of two", "one of one type", "another simulator", "another robot", "no gripper", "no simulator"],
)
def test_what_may_fit_is_read(data, simulators):
    load_recipe(recipe(data, *simulators))


@pytest.mark.parametrize("simulators", [[], [{"type": "libero"}]])
@pytest.mark.parametrize("recorded", [name for name in GRIPPERS if name != "close_positive"])
def test_a_policy_that_converts_takes_one_convention(recorded, simulators):
    data = {"type": "libero_hdf5", "gripper_to": recorded}
    assert refused(data, *simulators, gripper="zero_one_open").endswith(
        f"data.train.0.gripper_to '{recorded}' does not fit policy.params.gripper 'zero_one_open', which takes "
        "demonstrations as close_positive and converts them itself; set data.train.0.gripper_to to close_positive"
    )
    load_recipe(recipe({**data, "gripper_to": "close_positive"}, *simulators, gripper="zero_one_open"))


def test_what_the_checkpoint_was_saved_with_counts_too(tiny_qwen, tmp_path):
    shutil.copytree(tiny_qwen("openvla"), tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "params": {"gripper": "zero_one_open"}}))
    given = recipe({"type": "libero_hdf5", "gripper_to": "open_fraction"})
    given["policy"]["path"] = str(tmp_path / "model")
    read = load_recipe(given)
    with pytest.raises(ConfigError, match=r"'open_fraction' does not fit policy\.params\.gripper 'zero_one_open'"):
        open_policy(read, read.policy)


def test_a_policy_that_converts_needs_maniskill_to_read_what_it_sends():
    episodes = {"type": "episodes", "simulator": "s0", "size": 4}
    for simulator in ({"type": "maniskill"}, {"type": "maniskill", "gripper": "open_positive"}):
        given = recipe({}, simulator, gripper="zero_one_open") | {"data": {"train": [episodes]}}
        with pytest.raises(ConfigError) as caught:
            load_recipe(given)
        assert str(caught.value).endswith(
            "policy.params.gripper 'zero_one_open' and simulators.s0.gripper 'open_positive' are opposite readings of "
            "the gripper's command, so that it would open where it should close; set simulators.s0.gripper to "
            "close_positive"
        )
        given["simulators"]["s0"]["gripper"] = "close_positive"
        load_recipe(given)


@pytest.fixture
def joint_file(tmp_path):
    """Joint targets of motion planning: -2 and 2.4 rad are usual ones of a Panda."""
    h5py = pytest.importorskip("h5py")
    path = write_maniskill(tmp_path / "planned.h5", control="pd_joint_pos")
    with h5py.File(path, "a") as file:
        file["traj_0/actions"][...] = [0.0, 0.4, 0.9, 1.0]
        file["traj_1/actions"][...] = [0.0, 0.4, 0.9, 1.0]
        file["traj_1/actions"][5] = [0.0, 0.4, -2.0, 1.0]
    return path


def opened(path, **settings):
    return open_dataset(ManiSkillData(type="maniskill_h5", path=str(path), **settings))


def test_absolute_actions_are_refused(joint_file):
    assert len(opened(joint_file, episodes=[0])) == 11
    with pytest.raises(UserError) as caught:
        opened(joint_file)
    assert str(caught.value) == (
        f"'{joint_file}' traj_1, step 5: action -2 in dim 2 is outside [-1, 1], which simulators take; convert "
        "control_mode pd_joint_pos: python -m mani_skill.trajectory.replay_trajectory --traj-path "
        f"{joint_file} -c pd_joint_delta_pos -o rgb --save-traj"
    )


def test_differences_above_1_are_what_the_simulator_cuts(tmp_path):
    """A policy's own actions, recorded as it gave them, before ManiSkill's controller cut them at 1."""
    h5py = pytest.importorskip("h5py")
    path = write_maniskill(tmp_path / "sampled.h5", control="pd_joint_delta_pos")
    with h5py.File(path, "a") as file:
        file["traj_0/actions"][2] = [1.25, 0.0, 0.0, 1.0]
    assert np.array_equal(opened(path)[2].actions[0], [1.25, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("recorded", "option", "cure"),
    [
        ("pd_ee_delta_pos", None, "set simulators.s0.control_mode to pd_ee_delta_pos"),
        ("pd_ee_delta_pos", "pd_ee_delta_pose", "set simulators.s0.control_mode to pd_ee_delta_pos"),
        ("pd_joint_pos", None, "-c pd_joint_delta_pos -o rgb --save-traj"),
        ("pd_joint_pos", "pd_ee_delta_pos", "-c pd_ee_delta_pos -o rgb --save-traj"),
        (
            "pd_joint_pos",
            "pd_ee_pose",
            "-c pd_joint_delta_pos -o rgb --save-traj, and set simulators.s0.control_mode to pd_joint_delta_pos",
        ),
    ],
)
def test_another_control_mode_is_refused_when_the_recipe_is_read(tmp_path, recorded, option, cure):
    path = write_maniskill(tmp_path / "file.h5", control=recorded)
    said = refused({"type": "maniskill_h5", "path": str(path)}, {"type": "maniskill", "control_mode": option})
    assert (
        f"data.train.0 was recorded with control_mode {recorded}, and simulators.s0.control_mode is "
        f"{option or 'pd_joint_delta_pos'}, which would play its actions as others; "
    ) in said
    assert said.endswith(cure)


@pytest.mark.parametrize(
    "simulators",
    [
        [{"type": "maniskill", "control_mode": "pd_ee_delta_pos"}],
        [{"type": "maniskill"}, {"type": "maniskill", "control_mode": "pd_ee_delta_pos"}],
        [{"type": "maniskill", "robot": "fetch"}],
        [{"type": "tabletop"}],
    ],
)
def test_a_control_mode_that_may_fit_is_read(tmp_path, simulators):
    path = write_maniskill(tmp_path / "file.h5")
    load_recipe(recipe({"type": "maniskill_h5", "path": str(path)}, *simulators))


def test_the_simulator_of_the_same_task_counts(tmp_path):
    path = write_maniskill(tmp_path / "file.h5")
    push = {"type": "maniskill", "task": "PushCube-v1", "control_mode": "pd_ee_delta_pos"}
    assert "simulators.s1.control_mode is pd_joint_delta_pos" in refused(
        {"type": "maniskill_h5", "path": str(path)}, push, {"type": "maniskill"}
    )


@pytest.mark.parametrize("text", [None, "no json", json.dumps({"env_info": {}, "episodes": []})])
def test_a_file_that_says_nothing_is_left_to_its_reader(tmp_path, text):
    path = write_maniskill(tmp_path / "file.h5")
    if text is None:
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text(text)
    load_recipe(recipe({"type": "maniskill_h5", "path": str(path)}, {"type": "maniskill"}))


@pytest.mark.parametrize("policy", [{"type": "openvla"}, {"type": "qwen_vl", "action_bins": 33}])
def test_a_simulator_without_pictures_is_refused_when_the_recipe_is_read(policy):
    episodes = {"type": "episodes", "simulator": "s0", "size": 4}
    given = recipe({}, {"type": "maniskill", "observation": "state"})
    given |= {"policy": {"path": "model", **policy}, "data": {"train": [episodes]}, "method": "grpo"}
    with pytest.raises(ConfigError) as caught:
        load_recipe(given)
    assert str(caught.value).endswith(
        "simulators.s0.observation: 'state' shows no pictures, and every policy sees at least one camera; set "
        "simulators.s0.observation to rgb"
    )
    given["simulators"]["s0"]["observation"] = "rgb"
    load_recipe(given)
