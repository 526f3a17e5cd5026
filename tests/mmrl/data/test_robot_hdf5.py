"""LIBERO's and ManiSkill's HDF5: pictures, states and actions of one step, and the conventions of each."""

import builtins
import json

import numpy as np
import pytest
import torch

from mmrl.contracts.errors import BadSample, UserError
from mmrl.data.mixture import open_dataset
from mmrl.data.robot.actions import GRIPPERS, convert_gripper, moving_steps
from mmrl.recipe.data import LiberoData, ManiSkillData
from tests.support.robot_data import motion, sensed, spelled, write_libero, write_maniskill

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def libero(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    write_libero(folder / "a_task.hdf5", (12, 9), "pick up the bowl")
    write_libero(folder / "b_task.hdf5", (7,), ['"', "open", "the", "drawer", '"'])
    return folder


@pytest.fixture(scope="module")
def maniskill(tmp_path_factory):
    return write_maniskill(tmp_path_factory.mktemp("ms") / "trajectory.rgb.h5")


def opened_libero(path, **settings):
    return open_dataset(LiberoData(type="libero_hdf5", path=str(path), **settings))


def opened_maniskill(path, **settings):
    return open_dataset(ManiSkillData(type="maniskill_h5", path=str(path), **settings))


def words(sample):
    return sample.messages[0]["content"][-1]["text"]


def test_libero_rows_show_the_step_that_their_actions_start_at(libero):
    rows = opened_libero(libero, chunk=4)
    numbers = [*range(12), *range(20, 29), *range(7)]
    assert len(rows) == len(numbers)
    ends = [12] * 12 + [29] * 9 + [7] * 7
    for row, (number, end) in enumerate(zip(numbers, ends)):
        sample = rows[row]
        assert [spelled(image) for image in sample.images] == [number, number + 100], "turned upright"
        assert torch.equal(sample.actions, torch.from_numpy(motion(range(number, min(number + 4, end)), 7)))
        wanted = np.concatenate([sensed([number], 6), sensed([number], 2)], axis=1)[0]
        assert torch.equal(sample.state, torch.from_numpy(wanted))
    assert rows[0].cameras == ("agentview", "robot0_eye_in_hand")
    assert (words(rows[0]), words(rows[27])) == ("pick up the bowl", "open the drawer")


def test_observations_that_an_action_led_to_are_paired_with_the_next_action(tmp_path):
    """LIBERO's own files: obs[t] is what actions[t] led to; observation n spells n, and action n was chosen in it."""
    path = write_libero(tmp_path / "task.hdf5", (12, 9), after=True)
    rows = opened_libero(path, chunk=2)
    numbers = [*range(1, 12), *range(21, 29)]
    assert len(rows) == len(numbers), "an action whose observation was not kept, and an observation no action follows"
    for row, number in enumerate(numbers):
        sample = rows[row]
        assert [spelled(image) for image in sample.images] == [number, number + 100]
        end = 12 if number < 12 else 29
        assert torch.equal(sample.actions, torch.from_numpy(motion(range(number, min(number + 2, end)), 7)))
        assert float(sample.state[0]) == number
    assert rows[10].rewards == (1.0,), "the last action earns the success"
    assert float(opened_libero(path, observations="before")[0].state[0]) == 1.0, "as it lies there, by choice"
    assert rows.statistics()["num_transitions"] == len(numbers)


def test_files_of_both_writers_in_one_folder_are_paired_each_its_own_way(tmp_path):
    write_libero(tmp_path / "a.hdf5", (6,), after=True)
    write_libero(tmp_path / "b.hdf5", (6,))
    assert [spelled(sample.images[0]) for sample in opened_libero(tmp_path)] == [*range(1, 6), *range(6)]


def test_an_unclear_order_of_observations_is_refused_with_the_key_to_set(tmp_path):
    still = write_libero(tmp_path / "still.hdf5", (6,))
    with h5py.File(still, "a") as file:
        for name in ("states", "obs/joint_states"):
            file[f"data/demo_0/{name}"][...] = 0.5
    with pytest.raises(
        UserError, match=r"still\.hdf5' does not show .*fit both orders\); set `observations` to before"
    ):
        opened_libero(still)
    with h5py.File(still, "a") as file:
        del file["data/demo_0/states"]
    with pytest.raises(UserError, match="demo_0 has no states or no obs/joint_states"):
        opened_libero(still)
    assert spelled(opened_libero(still, observations="before")[0].images[0]) == 0
    assert len(opened_libero(still, observations="after")) == 5


def test_libero_pictures_can_stay_as_they_are_stored(libero):
    upright, stored = opened_libero(libero)[5].images[0], opened_libero(libero, rotate=False)[5].images[0]
    assert np.array_equal(np.asarray(stored)[::-1, ::-1], np.asarray(upright))


def test_libero_episodes_count_over_files(libero):
    rows = opened_libero(libero, episodes=[2, 0])
    assert len(rows) == 7 + 12
    assert words(rows[0]) == "open the drawer"
    assert len(opened_libero(libero, episodes="1:")) == 9 + 7
    with pytest.raises(UserError, match="episodes '5:' is empty; there are 3, from 0 to 2"):
        opened_libero(libero, episodes="5:")


def test_noops_are_left_out_of_rows_chunks_and_statistics(tmp_path):
    """Still steps go where the gripper's command stays; the first move after them follows directly in a chunk."""
    path = write_libero(tmp_path / "task.hdf5", (12,), still=(0, 4, 5))
    rows = opened_libero(path, drop_noops=True, chunk=3)
    assert [spelled(sample.images[0]) for sample in rows] == [1, 2, 3, 6, 7, 8, 9, 10, 11]
    actions = motion(range(12), 7)
    assert torch.equal(rows[2].actions, torch.from_numpy(actions[[3, 6, 7]]))
    kept = actions[[1, 2, 3, 6, 7, 8, 9, 10, 11]]
    assert rows.statistics()["num_transitions"] == 9
    assert rows.statistics()["action"]["mean"] == pytest.approx(kept.mean(0).tolist(), abs=1e-6)


def test_a_still_step_that_moves_the_gripper_stays():
    actions = np.zeros((6, 4), np.float32)
    actions[:, 3] = [-1, -1, 1, 1, 1, -1]
    actions[1, 0] = 0.5
    assert moving_steps(actions, gripper=True).tolist() == [1, 2, 5]
    assert moving_steps(actions, gripper=False).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("wanted", GRIPPERS)
@pytest.mark.parametrize("recorded", GRIPPERS)
def test_grippers_convert_at_both_ends_and_back(recorded, wanted):
    closed, opened = GRIPPERS[recorded]
    halfway = (closed + opened) / 2
    actions = np.array([[9, closed], [9, opened], [9, halfway]], np.float32)
    made = convert_gripper(actions, recorded, wanted)
    assert made[:, 1].tolist() == [*GRIPPERS[wanted], sum(GRIPPERS[wanted]) / 2]
    assert made[:, 0].tolist() == [9, 9, 9]
    assert np.array_equal(convert_gripper(made, wanted, recorded), actions)


def test_the_gripper_of_a_dataset_is_converted_and_not_normalised(libero):
    rows = opened_libero(libero, gripper_to="open_fraction")
    plain = opened_libero(libero)
    before, after = (torch.stack([s.actions[0] for s in r]) for r in (plain, rows))
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert torch.equal(after[:, -1], (1 - before[:, -1]) / 2)
    assert rows.statistics()["action"]["mask"] == [True] * 6 + [False]


def test_maniskill_rows_show_the_step_that_their_actions_start_at(maniskill):
    rows = opened_maniskill(maniskill, chunk=3)
    numbers = [*range(11), *range(20, 28)]
    assert len(rows) == len(numbers), "the failed trajectory is left out, and the last observation of each other"
    ends = [11] * 11 + [28] * 8
    for row, (number, end) in enumerate(zip(numbers, ends)):
        sample = rows[row]
        assert spelled(sample.images[0]) == number
        assert torch.equal(sample.actions, torch.from_numpy(motion(range(number, min(number + 3, end)), 4)))
        state = [number, number + 1000, number + 0.25, number + 0.5, number + 0.75, number % 2 == 0]
        assert sample.state.tolist() == state, "agent, then extra, in the order of writing"
    assert rows[0].cameras == ("base_camera",)
    assert words(rows[0]) == "pick up the red cube and hold it at the green goal"
    assert rows.name == "PickCube-v1"


def test_maniskill_failures_on_request(maniskill):
    assert len(opened_maniskill(maniskill, successful_only=False)) == 11 + 8 + 6
    with pytest.raises(UserError, match="episode 2 is not there"):
        opened_maniskill(maniskill, episodes=[2])


def test_maniskill_refuses_what_would_be_misread(maniskill, tmp_path):
    with pytest.raises(
        UserError, match=r"control_mode pd_ee_delta_pos, not 'pd_joint_pos'; convert it: .*-c pd_joint_pos"
    ):
        opened_maniskill(maniskill, control_mode="pd_joint_pos")
    blind = write_maniskill(tmp_path / "blind.h5", pictures=False)
    with pytest.raises(UserError, match=r"holds no pictures; replay it with them: .* -o rgb --save-traj"):
        opened_maniskill(blind)
    unordered = write_maniskill(tmp_path / "unordered.h5")
    with h5py.File(unordered, "a") as file:
        del file["traj_0/obs/extra"]
        extra = file["traj_0/obs"].create_group("extra", track_order=False)
        extra["b"], extra["a"] = np.zeros((12, 1)), np.ones((12, 1))
    with pytest.raises(UserError, match="does not keep the order of its 2 members"):
        opened_maniskill(unordered)
    assert opened_maniskill(unordered, state=False)[0].state is None
    unordered.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"unordered\.json' is missing"):
        opened_maniskill(unordered)


def test_an_unknown_task_needs_an_instruction(tmp_path):
    path = write_maniskill(tmp_path / "own.h5")
    facts = json.loads(path.with_suffix(".json").read_text())
    facts["env_info"]["env_id"] = "PickCup-v1"
    path.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"unknown task 'PickCup-v1'\. Did you mean 'PickCube-v1'.*set `instruction`"):
        opened_maniskill(path)
    assert words(opened_maniskill(path, instruction="pick up the cup")[0]) == "pick up the cup"


def test_what_is_missing_or_damaged_is_named(libero, tmp_path):
    with pytest.raises(UserError, match=r"unknown camera 'agentview'\. Did you mean 'agentview_rgb'"):
        opened_libero(libero, cameras={"agentview": "front"})
    with pytest.raises(UserError, match=r"has no \.hdf5 or \.h5 file"):
        opened_libero(tmp_path)
    cut = write_libero(tmp_path / "cut.hdf5")
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.hdf5' is no HDF5 file, or is cut short"):
        opened_libero(cut)
    lacking = write_libero(tmp_path / "lacking.hdf5")
    with h5py.File(lacking, "a") as file:
        del file["data/demo_1/obs/ee_states"]
    with pytest.raises(UserError, match=r"lacking\.hdf5 demo_1/obs: 'ee_states' is missing; there is agentview_rgb"):
        opened_libero(lacking)
    with h5py.File(lacking, "a") as file:
        file["data/demo_1/obs/ee_states"] = np.zeros((4, 6))
        file["data/demo_0/actions"][3, 0] = np.nan
    with pytest.raises(UserError, match=r"demo_1/obs is damaged: lengths ee_states 4, gripper_states 9 must be equal"):
        opened_libero(lacking)
    rows = opened_libero(lacking, episodes=[0], chunk=2)
    assert rows[1].actions.isfinite().all()
    for bad in (2, 3):
        with pytest.raises(
            BadSample, match=rf"row {bad} \(lacking.hdf5 demo_0, step {bad}\): its action is not finite"
        ):
            rows[bad]


def test_without_h5py_the_cure_is_named(libero, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "h5py":
            raise ImportError("no h5py")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match="h5py is not installed: pip install"):
        opened_libero(libero)
