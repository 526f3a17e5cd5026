"""Episodes: a policy in a simulator gives trajectories of many decisions, and so does the scripted expert."""

import math

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import DEMO, POLICY
from mmrl.data.episodes import Episodes
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.episodes import demonstrate_episodes, play
from mmrl.rollouts.simulators import Simulators
from tests.support.engines import hf

TABLE = {"type": "tabletop", "tasks": ["reach", "push"], "image_size": 28, "max_steps": 7, "reward": "dense"}
BINS = 33


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=BINS))


@pytest.fixture
def simulators():
    return Simulators({"table": TABLE})


def starts(count, first=0):
    return list(Episodes(EpisodeData(type="episodes", simulator="table", first=first, size=count)))


def actions_of(policy, trajectory, chunk):
    values, first = torch.linspace(-1, 1, BINS), int(policy.action_ids()[0])
    return torch.cat([values[d.tokens - first] for d in trajectory.decisions]).view(-1, 3)


def replay(simulators, samples, actions):
    """Return and success of each world under given actions [B, T, 3], by the simulator alone."""
    env = simulators.get("table", len(samples))
    env.reset([s.episode for s in samples])
    info = env.chunk_step(actions).info
    return info["return"], info["success_once"]


@pytest.mark.parametrize("chunk", [1, 3])
def test_groups_start_alike_and_decisions_add_up(policy, simulators, chunk):
    samples = starts(3)
    groups = play(policy, hf(policy), simulators, samples, SamplingConfig(), 2, chunk, seed=4)
    assert [g.sample.episode for g in groups] == [0, 1, 2]
    for group in groups:
        first, second = group.trajectories
        pixels = [t.decisions[0].prompt.pixel_values for t in (first, second)]
        assert torch.equal(*pixels), "trajectories of a group see the same start"
        assert not torch.equal(first.decisions[0].tokens, second.decisions[0].tokens) or first.units != second.units
        for t in group.trajectories:
            assert t.origin == POLICY
            assert len(t.decisions) == math.ceil(t.episode.length / chunk)
            steps = [len(d.step_rewards) for d in t.decisions]
            assert (
                [len(d.tokens) for d in t.decisions]
                == [len(d.log_probs) for d in t.decisions]
                == [3 * n for n in steps]
            )
            assert set(steps[:-1]) <= {chunk}
            assert sum(steps) == t.episode.length, "no unit of an action that did not count"
            assert all(sum(d.step_rewards) == pytest.approx(d.reward, abs=1e-6) for d in t.decisions)
            assert all(d.restrict == "action" for d in t.decisions)
            assert sum(d.reward for d in t.decisions) == pytest.approx(t.reward, abs=1e-5)
            assert t.truncated == (not t.episode.success_once)
            assert t.accuracy == float(t.episode.success_once)


def test_tokens_are_the_actions_that_were_played(policy, simulators):
    samples = starts(4)
    groups = play(policy, hf(policy), simulators, samples, SamplingConfig(), 1, 1, seed=1)
    steps = max(len(g.trajectories[0].decisions) for g in groups)
    actions = torch.zeros(4, steps, 3)
    for i, group in enumerate(groups):
        taken = actions_of(policy, group.trajectories[0], 1)
        actions[i, : len(taken)] = taken
    returns, successes = replay(simulators, samples, actions)
    for i, group in enumerate(groups):
        assert float(returns[i]) == pytest.approx(group.trajectories[0].reward, abs=1e-5)
        assert bool(successes[i]) == group.trajectories[0].episode.success_once


@pytest.mark.parametrize("chunk", [1, 3])
def test_the_expert_s_tokens_solve_the_task(policy, simulators, chunk):
    samples = starts(6, first=50)
    groups = demonstrate_episodes(policy, Simulators({"table": {**TABLE, "max_steps": 24}}), samples, chunk)
    allowed = set(policy.action_ids().tolist())
    assert all(len(g.trajectories) == 1 and g.trajectories[0].origin == DEMO for g in groups)
    assert sum(g.trajectories[0].episode.success_once for g in groups) >= 5
    for group in groups:
        trajectory = group.trajectories[0]
        assert set(torch.cat([d.tokens for d in trajectory.decisions]).tolist()) <= allowed
        # A demonstration ends with the step that ended the episode, also inside a chunk.
        assert trajectory.units == 3 * trajectory.episode.length
        assert all(d.log_probs is None for d in trajectory.decisions)


def test_a_simulator_without_expert_is_refused(policy, simulators, monkeypatch):
    monkeypatch.setattr(type(simulators.get("table", 1)), "has_expert", False)
    with pytest.raises(ConfigError, match=r"simulators.table has no scripted expert"):
        demonstrate_episodes(policy, simulators, starts(1), 1)


def test_a_bad_simulator_names_its_key():
    with pytest.raises(ConfigError, match=r"simulators.table: .*max_stepz.*max_steps"):
        Simulators({"table": {**TABLE, "max_stepz": 3}}).get("table", 1)
