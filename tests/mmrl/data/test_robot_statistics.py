"""Normalisation statistics against numpy, and how a policy takes them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrl.contracts.errors import ConfigError, UserError
from mmrl.data.mixture import Budgeted, Head, open_dataset
from mmrl.data.robot.statistics import (
    Running,
    clipped_share,
    compute_statistics,
    far_outside,
    recorded_actions,
    share_statistics,
)
from mmrl.recipe.data import LeRobotData
from mmrl.recipe.policies.registry import policy_settings
from tests.support.robot_data import motion, sensed, write_lerobot


def numpy_statistics(values):
    values = np.asarray(values, np.float64)
    found = {"mean": values.mean(0), "std": values.std(0), "min": values.min(0), "max": values.max(0)}
    return {**found, "q01": np.quantile(values, 0.01, axis=0), "q99": np.quantile(values, 0.99, axis=0)}


def assert_close(found, values, **tolerance):
    for name, wanted in numpy_statistics(values).items():
        np.testing.assert_allclose(found[name], wanted, err_msg=name, **tolerance)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 5), st.integers(0, 2**31))
def test_blocks_add_up_to_the_whole(sizes, width, seed):
    rng = np.random.default_rng(seed)
    offset = rng.normal(size=width) * 10.0 ** rng.integers(-2, 4, width)
    blocks = [(rng.normal(size=(n, width)) + offset).astype(np.float32) for n in sizes]
    whole = np.concatenate(blocks)
    running = Running()
    for block in blocks:
        running.add(block)
    if not len(whole):
        with pytest.raises(ValueError, match="nothing"):
            running.result()
        return
    assert running.count == len(whole)
    assert_close(running.result(), whole, rtol=1e-6, atol=1e-6)


def test_beyond_the_limit_moments_stay_exact_and_quantiles_come_from_a_uniform_sample():
    """2,000 of 200,000: the standard error of the 1 % quantile of a uniform is sqrt(.01 x .99 / 2000) = 0.0022."""
    values = np.random.default_rng(3).uniform(size=(200_000, 2))
    values[:, 1] = np.sort(values[:, 1])
    running = Running(exact=2000)
    for block in np.array_split(values, 37):
        running.add(block)
    found = running.result()
    exact = numpy_statistics(values)
    for name in ("mean", "std", "min", "max"):
        np.testing.assert_allclose(found[name], exact[name], rtol=1e-9)
    np.testing.assert_allclose(found["q01"], exact["q01"], atol=0.009)
    np.testing.assert_allclose(found["q99"], exact["q99"], atol=0.009)


def test_the_layout_is_that_of_norm_stats():
    actions, states = motion(range(50)), sensed(range(50))
    found = compute_statistics([(actions[:20], states[:20]), (actions[20:], states[20:])], [True, True, False])
    assert set(found) == {"action", "proprio", "num_transitions"}
    assert found["num_transitions"] == 50
    assert found["action"]["mask"] == [True, True, False]
    assert_close(found["action"], actions, rtol=1e-6, atol=1e-7)
    assert_close(found["proprio"], states, rtol=1e-6)
    assert json.loads(json.dumps(found)) == found
    assert "proprio" not in compute_statistics([(actions, None)], [True] * 3)


def test_steps_that_are_not_finite_count_for_nothing():
    """Neither an action nor a state of theirs: nothing is learnt from such a step."""
    actions, states = motion(range(50)), sensed(range(50))
    actions[3, 1], states[7, 2], states[8, 0] = np.nan, np.inf, -np.inf
    sound = [i for i in range(50) if i not in (3, 7, 8)]
    found = compute_statistics([(actions[:20], states[:20]), (actions[20:], states[20:])], [True] * 3)
    assert found["num_transitions"] == 47
    assert_close(found["action"], actions[sound], rtol=1e-6, atol=1e-7)
    assert_close(found["proprio"], states[sound], rtol=1e-6)
    with pytest.raises(ValueError, match="not one step with finite numbers"):
        compute_statistics([(np.full((4, 3), np.nan), None)], [True] * 3)


@pytest.fixture
def folder(tmp_path):
    return write_lerobot(tmp_path / "arm", (23, 17), stored=True)


def opened(folder, **more):
    return open_dataset(LeRobotData(type="lerobot", path=str(folder), **more))


def test_statistics_of_a_dataset_are_numpys(folder):
    found = opened(folder, gripper="close_positive").statistics()
    assert_close(found["action"], motion(range(40)), rtol=1e-6, atol=1e-7)
    assert_close(found["proprio"], sensed(range(40)), rtol=1e-6)
    assert (found["num_transitions"], found["num_trajectories"]) == (40, 2)
    part = opened(folder, episodes=[1]).statistics()
    assert_close(part["action"], motion(range(23, 40)), rtol=1e-6, atol=1e-7)


def test_lerobots_own_statistics_hold_for_the_whole_dataset_only(folder):
    names = ("mean", "std", "min", "max", "q01", "q10", "q50", "q90", "q99")
    own = {"action": {n: [0.5, 0.5, 0.5] for n in names}, "observation.state": {n: [2.0] * 4 for n in names}}
    (folder / "meta/stats.json").write_text(json.dumps(own))
    assert opened(folder).statistics()["action"]["mean"] != [0.5] * 3, "all steps, unless the file's are asked for"
    whole = opened(folder, statistics="file", gripper="close_positive").statistics()
    assert whole["action"] == {**{n: [0.5] * 3 for n in ("mean", "std", "min", "max", "q01", "q99")}, "mask": [1, 1, 0]}
    assert whole["proprio"]["q99"] == [2.0] * 4
    for other in (
        {"episodes": [0]},
        {"statistics": "steps"},
        {"gripper": "close_positive", "gripper_to": "open_fraction"},
    ):
        assert opened(folder, **{"statistics": "file", **other}).statistics()["action"]["mean"] != [0.5] * 3
    del own["observation.state"]["q01"]
    (folder / "meta/stats.json").write_text(json.dumps(own))
    assert opened(folder, statistics="file").statistics()["action"]["mean"] != [0.5] * 3
    assert opened(folder, statistics="file", state=None).statistics()["action"]["mean"] == [0.5] * 3


def test_the_share_that_a_policy_clips_is_that_of_its_own_bounds(folder):
    rows = opened(folder, gripper="close_positive")
    actions = recorded_actions(Budgeted(Head(rows, 40), {}))
    assert np.array_equal(actions, motion(range(40)))
    assert clipped_share(actions, rows.statistics()) <= 0.02
    narrow = {"action": {"q01": [-0.5, -0.5, 0.0], "q99": [0.5, 0.5, 0.0], "mask": [True, True, False]}}
    slack = 1 / 256 + 1e-6
    wanted = (np.abs(motion(range(40))[:, :2]) > 0.5 + slack).mean()
    assert clipped_share(actions, narrow) == pytest.approx(wanted)
    assert recorded_actions(["no", "robot"]) is None


def test_commands_in_other_units_than_a_simulators_are_told():
    actions = motion(range(40)) * np.float32(1.9)
    assert far_outside(actions, "arm") is None, "an overshoot that the simulator cuts, as when it was recorded"
    told = far_outside(actions * np.array([1, 90, 1], np.float32), "arm")
    assert "dataset 'arm': simulators take actions from -1 to 1, and dimension 1 runs from -1" in told


class Taker:
    """A policy that only takes statistics."""

    def __init__(self, **known):
        self.statistics = dict(known)

    def set_statistics(self, key, entry):
        self.statistics[key] = entry


def test_a_policy_gets_what_it_does_not_know_and_keeps_what_it_does(folder):
    rows = opened(folder)
    policy = Taker()
    shared = share_statistics(policy, [Budgeted(Head(rows, 3), {}), ["no", "robot"]])
    assert list(policy.statistics) == ["arm"]
    assert shared == {"arm": {"from": "dataset", **rows.statistics()}}
    trained = Taker(arm={"action": {"q01": [0.0]}})
    assert share_statistics(trained, [rows]) == {"arm": {"from": "checkpoint", "action": {"q01": [0.0]}}}
    with pytest.raises(UserError, match="two datasets of recorded actions are called 'arm'"):
        share_statistics(Taker(), [rows, opened(folder, episodes=[0])])


def test_a_policy_that_does_not_act_is_named(folder):
    reader = SimpleNamespace(config=policy_settings(type="frame_selector", path="anywhere"))
    with pytest.raises(ConfigError, match=r"policy\.type 'frame_selector' does not act; leave dataset 'arm' out"):
        share_statistics(reader, [opened(folder)])
