"""Several tabletop worlds at once, and episodes played in them."""

import dataclasses

import pytest
import torch

import robotics
from mmrl.data.episodes import Episodes
from mmrl.recipe.data import EpisodeData
from robotics.tabletop import TabletopEnv

TABLE = {"type": "tabletop", "tasks": ["reach", "push"], "image_size": 28, "max_steps": 7, "reward": "dense"}


BINS = 33


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
            names = {"success_once": "success_once", "success_at_end": "success_at_end", "length": "episode_len"}
            for field, name in names.items():
                assert getattr(trajectory.episode, field) == result.info[name].item()
            if trajectory.origin == "policy":
                credits = torch.tensor([reward for d in trajectory.decisions for reward in d.step_rewards])
                torch.testing.assert_close(credits, result.reward[0])


def same(left, right):
    """Equal decisions, rewards and pictures of the first observation."""
    assert [g.sample.id for g in left] == [g.sample.id for g in right]
    for one, other in zip(left, right):
        assert [image.tobytes() for image in one.sample.images] == [image.tobytes() for image in other.sample.images]
        for a, b in zip(one.trajectories, other.trajectories, strict=True):
            assert (a.reward, a.accuracy, a.stop, a.episode) == (b.reward, b.accuracy, b.stop, b.episode)
            assert all(torch.equal(x.tokens, y.tokens) for x, y in zip(a.decisions, b.decisions, strict=True))


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
