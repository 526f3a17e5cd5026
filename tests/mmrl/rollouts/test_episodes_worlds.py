"""Episodes in fewer worlds than there are episodes, and in worlds that fail."""

import pytest

import robotics
from mmrl.contracts.errors import ConfigError
from mmrl.policies.opening import load_policy
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.episodes import demonstrate_episodes, play
from mmrl.rollouts.simulators import Simulators
from tests.support.engines import hf
from tests.support.worlds import BINS, TABLE, Failing, check_against_the_simulator, same, starts


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=BINS))


@pytest.mark.parametrize("worlds", [1, 3, 16])
def test_demonstrations_do_not_depend_on_the_number_of_worlds(policy, worlds):
    every = demonstrate_episodes(policy, Simulators({"table": TABLE}), starts(5), 2)
    few = demonstrate_episodes(policy, Simulators({"table": {**TABLE, "num_envs": worlds}}), starts(5), 2)
    same(every, few)
    check_against_the_simulator(policy, few, 2)


@pytest.mark.slow
@pytest.mark.parametrize("worlds", [2, 16])
def test_more_episodes_than_worlds_are_all_played(policy, worlds):
    simulators = Simulators({"table": {**TABLE, "num_envs": worlds}})
    groups = play(policy, hf(policy), simulators, starts(3), SamplingConfig(), 2, 3, seed=4, bootstrap=True)
    assert [len(g.trajectories) for g in groups] == [2, 2, 2]
    check_against_the_simulator(policy, groups, 3)
    finals = [t.final_prompt is not None for g in groups for t in g.trajectories]
    assert finals == [t.truncated for g in groups for t in g.trajectories]
    assert any(finals)
    again = play(policy, hf(policy), simulators, starts(3), SamplingConfig(), 2, 3, seed=4)
    same(groups, again)
    assert len(simulators._made) == 1
    simulators.close()


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setitem(robotics.registry.SIMULATORS, "failing", f"{__name__}:Failing")
    Failing.calls = 0
    return Simulators({"table": {**TABLE, "type": "failing"}})


def test_an_episode_in_which_the_simulator_failed_is_played_again(policy, failing):
    groups = play(policy, hf(policy), failing, starts(3), SamplingConfig(), 1, 2, seed=1)
    assert failing.dropped == 2
    check_against_the_simulator(policy, groups, 2)


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_demonstration_in_which_the_simulator_failed_is_played_again(policy, failing, chunk):
    groups = demonstrate_episodes(policy, failing, starts(3), chunk)
    assert failing.dropped == 2
    same(groups, demonstrate_episodes(policy, Simulators({"table": TABLE}), starts(3), chunk))


def test_a_missing_package_is_the_recipes_error(monkeypatch):
    monkeypatch.setitem(robotics.registry.SIMULATORS, "absent", "package_that_is_absent:Env")
    with pytest.raises(ConfigError, match=r"simulators.table: No module named 'package_that_is_absent'"):
        Simulators({"table": {"type": "absent"}}).get("table", 1)
