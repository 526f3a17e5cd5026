"""Actions that a flow policy predicts as differences from the state: learnt, played and normalised as such."""

import numpy as np
import pytest
import torch

from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.policy import played
from mmrl.contracts.source import Ready
from mmrl.data.mixture import open_dataset
from mmrl.data.robot.statistics import share_statistics
from mmrl.recipe.data import LeRobotData
from mmrl.rollouts.answers import demonstrate
from mmrl.rollouts.episodes import demonstrate_episodes
from tests.support.flow import load
from tests.support.robot_data import motion, sensed, write_lerobot


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    root = write_lerobot(tmp_path_factory.mktemp("data") / "arm", (7, 5), stored=True)
    return open_dataset(LeRobotData(type="lerobot", path=str(root), chunk=3, image_size=28))


def test_statistics_are_of_the_differences_of_whole_chunks(rows):
    """As lerobot computes them: each action of a chunk less the state at its beginning."""
    differences = []
    for start, end in ((0, 7), (7, 12)):
        for step in range(start, end):
            chunk = motion(range(step, min(step + 3, end))).astype(np.float64)
            chunk[:, [0, 2]] -= sensed([step])[:, [0, 2]]
            differences.append(chunk)
    differences = np.concatenate(differences)
    found = rows.statistics(delta=(0, 2))
    np.testing.assert_allclose(found["action"]["mean"], differences.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["action"]["q99"], np.quantile(differences, 0.99, axis=0), rtol=1e-6, atol=1e-6)
    with pytest.raises(UserError, match=r"delta_actions \[3\] are differences from a state of 4 dimensions"):
        rows.statistics(delta=(3,))


def test_a_recorded_chunk_is_learnt_as_differences_and_played_as_itself(rows, tiny_qwen):
    params = {"delta_actions": [0, 1], "statistics": "arm"}
    policy = load(tiny_qwen("pi0"), awake=False, params=params)
    shared = share_statistics(policy, [rows])["arm"]
    assert shared["action"]["mean"] == pytest.approx(rows.statistics(delta=(0, 1))["action"]["mean"])
    for row in (0, 8):
        sample = rows[row]
        [prompt] = policy.prepare([sample])
        [trajectory] = demonstrate(policy, Ready(sample, (prompt,)), max_units=1).trajectories
        units = trajectory.decisions[0].tokens
        want = sample.actions.clone()
        want[:, :2] -= sample.state[:2]
        assert torch.allclose(policy.actions(units[None], 3)[0], want, atol=1e-3), "differences from row's own state"
        assert torch.allclose(played(policy, units[None], 3, [prompt])[0], sample.actions, atol=1e-3)


def test_what_has_no_differences_is_refused(rows, tiny_qwen):
    policy = load(tiny_qwen("pi0"), awake=False, params={"delta_actions": [0]})
    with pytest.raises(ConfigError, match=r"delta_actions: \[0\] are learnt from recorded actions alone"):
        demonstrate_episodes(policy, None, [], chunk=1)
    with pytest.raises(ConfigError, match=r"delta_actions: 4 is beyond the 3 dimensions of an action"):
        load(tiny_qwen("pi0"), awake=False, params={"delta_actions": [4]}).absolute(
            torch.zeros(1, 1, 3), policy.prepare([rows[0]])
        )
