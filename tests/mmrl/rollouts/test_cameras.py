"""Recorded and simulated cameras are matched by name: views never change places, and a missing one is told."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.policy import params_of
from mmrl.data.mixture import open_dataset
from mmrl.recipe.data import LeRobotData
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.cameras import settle_cameras
from mmrl.rollouts.normalisation import settle_statistics
from tests.support.flow import load as load_flow
from tests.support.openvla import load as load_openvla
from tests.support.robot_data import write_lerobot

TOP, WRIST = "observation.images.top", "observation.images.wrist"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_lerobot(tmp_path_factory.mktemp("data") / "arm", (6,), stored=True)


def opened(root, **settings):
    return open_dataset(LeRobotData(type="lerobot", path=str(root), image_size=28, **settings))


def simulators(**options):
    """The recipe's simulators, as it is read."""
    raw = {
        "name": "x",
        "policy": {"type": "pi0", "path": "anywhere"},
        "simulators": {"sim": options},
        "data": {"train": [{"type": "episodes", "simulator": "sim"}]},
        "method": "grpo",
        "steps": 1,
    }
    return load_recipe(raw).simulators


def test_views_that_a_simulator_lists_in_another_order_keep_their_places(root, tiny_qwen):
    rows = opened(root, cameras={WRIST: "robot0_eye_in_hand", TOP: "agentview"})
    policy = load_flow(tiny_qwen("pi0"), awake=False)
    settle_cameras(policy, [rows], simulators(type="libero"))
    assert params_of(policy).cameras == ["robot0_eye_in_hand", "agentview"]
    recorded = rows[2]
    simulated = replace(recorded, images=recorded.images[::-1], cameras=recorded.cameras[::-1], simulator="sim")
    one, other = (policy.prepare([sample])[0] for sample in (recorded, simulated))
    assert torch.equal(one.pixels, other.pixels)
    assert not torch.equal(one.pixels[0], one.pixels[1])


@pytest.mark.parametrize(
    ("cameras", "params", "message"),
    [
        (
            None,
            {},
            r"learns from dataset 'arm' top, wrist, and simulators\.sim has agentview, robot0_eye_in_hand, without",
        ),
        ({TOP: "agentview", WRIST: "hand"}, {}, r"without hand; give recorded cameras the simulator's names"),
        (
            {TOP: "agentview"},
            {"cameras": ["front"]},
            r"policy\.params\.cameras names front, and dataset 'arm' has agentview",
        ),
    ],
)
def test_a_camera_that_one_of_them_lacks_is_refused(root, tiny_qwen, cameras, params, message):
    policy = load_flow(tiny_qwen("pi0"), awake=False, params=params)
    with pytest.raises(ConfigError, match=message):
        settle_cameras(policy, [opened(root, cameras=cameras)], simulators(type="libero"))


def test_openvla_keeps_the_name_with_its_checkpoint(root, tiny_qwen, tmp_path):
    policy = load_openvla(tiny_qwen("openvla"), "openvla")
    settle_cameras(policy, [opened(root, cameras={TOP: "top"})], simulators(type="tabletop"))
    policy.save_pretrained(tmp_path / "model")
    assert load_openvla(tmp_path / "model", "openvla").params.cameras == ["top"]


def test_without_recorded_data_nothing_is_settled(tiny_qwen):
    policy = load_flow(tiny_qwen("pi0"), awake=False)
    settle_cameras(policy, [["no", "robot"]], simulators(type="tabletop"))
    assert params_of(policy).cameras is None


def test_what_is_clipped_and_what_is_out_of_range_are_told(root, tiny_qwen, caplog):
    rows = opened(root, gripper="close_positive")
    policy = load_openvla(tiny_qwen("openvla"), "openvla", params={"statistics": "tabletop"})
    narrow = {"q01": [-0.1] * 3, "q99": [0.1] * 3, "mask": [True] * 3}
    policy.statistics["tabletop"] = {"action": narrow}
    facts = settle_statistics(policy, [rows], simulators(type="tabletop"))
    assert 0.5 < facts["clipped_actions"]["arm"] <= 1.0
    [line] = [record.getMessage() for record in caplog.records]
    assert "of its action values lie outside q01 to q99 of the statistics 'tabletop'" in line
    caplog.clear()
    for episode in rows.episodes:
        episode.actions_TA[:, 0] *= 90
    settle_statistics(load_flow(tiny_qwen("pi0"), awake=False, params={"statistics": "arm"}), [rows], {})
    assert not caplog.records, "no simulator, nothing to be outside of"
    settle_statistics(
        load_flow(tiny_qwen("pi0"), awake=False, params={"statistics": "arm"}), [rows], simulators(type="tabletop")
    )
    [line] = [record.getMessage() for record in caplog.records]
    assert "dataset 'arm': simulators take actions from -1 to 1, and dimension 0 runs from " in line
