"""Episodes in fewer worlds than there are episodes, and in worlds that fail."""

import dataclasses

import pytest
import torch

import robotics
from mmrl.config import EpisodeData, PolicyConfig, SamplingConfig
from mmrl.data.episodes import Episodes
from mmrl.errors import ConfigError
from mmrl.policies.registry import load_policy
from mmrl.rollouts.engines.hf import HFEngine
from mmrl.rollouts.episodes import Simulators, demonstrate_episodes, play
from robotics.tabletop import TabletopEnv

TABLE = {"type": "tabletop", "tasks": ["reach", "push"], "image_size": 28, "max_steps": 7, "reward": "dense"}
BINS = 33


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load_policy(PolicyConfig(path=str(tiny_qwen()), device="cpu", action_bins=BINS))


def starts(count):
    return list(Episodes(EpisodeData(type="episodes", simulator="table", first=40, size=count)))


def check_against_the_simulator(policy, groups, chunk):
    """Every trajectory's actions, played by the simulator alone from the group's start, give its rewards and facts."""
    values, first = torch.linspace(-1, 1, BINS), int(policy.action_ids()[0])
    for group in groups:
        for trajectory in group.trajectories:
            actions = torch.cat([values[d.tokens - first] for d in trajectory.decisions]).view(1, -1, 3)
            env = robotics.make({**TABLE, "num_envs": 1})
            env.reset([group.sample.episode])
            result = env.chunk_step(actions)
            assert result.valid.all()
            assert result.info["done"].item()
            assert trajectory.reward == pytest.approx(result.info["return"].item(), abs=1e-6)
            assert trajectory.truncated == result.truncated.any().item()
            for name in ("success_once", "success_at_end", "episode_len"):
                assert trajectory.info[name] == result.info[name].item()
            if trajectory.source == "policy":
                credits = torch.tensor([reward for d in trajectory.decisions for reward in d.step_rewards])
                torch.testing.assert_close(credits, result.reward[0])


def same(left, right):
    """Equal decisions, rewards and pictures of the first observation."""
    assert [g.sample.id for g in left] == [g.sample.id for g in right]
    for one, other in zip(left, right):
        assert [image.tobytes() for image in one.sample.images] == [image.tobytes() for image in other.sample.images]
        for a, b in zip(one.trajectories, other.trajectories, strict=True):
            assert (a.reward, a.truncated, a.info) == (b.reward, b.truncated, b.info)
            assert all(torch.equal(x.tokens, y.tokens) for x, y in zip(a.decisions, b.decisions, strict=True))


@pytest.mark.parametrize("worlds", [1, 3, 16])
def test_demonstrations_do_not_depend_on_the_number_of_worlds(policy, worlds):
    every = demonstrate_episodes(policy, Simulators({"table": TABLE}), starts(5), 2)
    few = demonstrate_episodes(policy, Simulators({"table": {**TABLE, "num_envs": worlds}}), starts(5), 2)
    same(every, few)
    check_against_the_simulator(policy, few, 2)


@pytest.mark.parametrize("worlds", [2, 16])
def test_more_episodes_than_worlds_are_all_played(policy, worlds):
    simulators = Simulators({"table": {**TABLE, "num_envs": worlds}})
    groups = play(policy, HFEngine(policy), simulators, starts(3), SamplingConfig(), 2, 3, seed=4, bootstrap=True)
    assert [len(g.trajectories) for g in groups] == [2, 2, 2]
    check_against_the_simulator(policy, groups, 3)
    finals = [t.final_prompt is not None for g in groups for t in g.trajectories]
    assert finals == [t.truncated for g in groups for t in g.trajectories]
    assert any(finals)
    again = play(policy, HFEngine(policy), simulators, starts(3), SamplingConfig(), 2, 3, seed=4)
    same(groups, again)
    assert len(simulators._made) == 1
    simulators.close()


class Failing(TabletopEnv):
    """A tabletop that drops the episode of world 1 in its first chunk and that of world 0 in its third, once each."""

    calls = 0

    def unseen_step(self, actions):
        result = super().unseen_step(actions)
        Failing.calls += 1
        world = {1: 1, 3: 0}.get(Failing.calls)
        if world is None:
            return result
        self.dropped_episodes += 1
        row = torch.arange(self.num_envs) == world
        info = {**result.info, "dropped": row, "done": result.info["done"] | row}
        valid = result.valid & ~row[:, None]
        return dataclasses.replace(
            result, info=info, valid=valid, reward=result.reward * valid, truncated=result.truncated & valid
        )


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setitem(robotics.registry.SIMULATORS, "failing", f"{__name__}:Failing")
    Failing.calls = 0
    return Simulators({"table": {**TABLE, "type": "failing"}})


def test_an_episode_in_which_the_simulator_failed_is_played_again(policy, failing):
    groups = play(policy, HFEngine(policy), failing, starts(3), SamplingConfig(), 1, 2, seed=1)
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
