"""Demonstrations look at the worlds once per chunk and are what they are with a look after every step; few copies."""

import dataclasses

import pytest
import torch

import robotics
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.episodes import demonstrate_episodes, play
from mmrl.rollouts.simulators import Simulators
from robotics.base import VectorEnv
from robotics.tabletop import TabletopEnv
from tests.support.reflexes import Dice, Reflex
from tests.support.worlds import TABLE as LONGER
from tests.support.worlds import same, starts

# The expert solves some starts in so few steps, and not others.
TABLE = {**LONGER, "max_steps": 5}


class Counted(TabletopEnv):
    """A tabletop that counts its pictures."""

    drawn = 0

    def observe(self):
        Counted.drawn += 1
        return super().observe()


class FailsAtTheEnd(TabletopEnv):
    """A tabletop that drops a world, once, in the first step after the time limit ended its episode.

    Until the next reset it is black: what was seen last is older than the episode's end.
    """

    fails, dark = True, None

    def reset(self, ids, worlds=None):
        self.dark = None
        return super().reset(ids, worlds)

    def observe(self):
        seen = super().observe()
        if self.dark is not None:
            seen.images["top"][self.dark] = 0
        return seen

    def unseen_step(self, actions):
        records = self._tracker
        over_B = records.done_B & (records.length_B == self.max_steps) & ~records.success_once_B
        result = super().unseen_step(actions)
        if not (FailsAtTheEnd.fails and over_B.any()):
            return result
        FailsAtTheEnd.fails, self.dropped_episodes = False, 1
        self.dark = int(over_B.nonzero()[0])
        row_B = torch.arange(self.num_envs) == self.dark
        return dataclasses.replace(result, info={**result.info, "dropped": row_B})


@pytest.fixture
def simulators(monkeypatch):
    def make(kind, **options):
        monkeypatch.setitem(robotics.registry.SIMULATORS, kind.__name__, f"{__name__}:{kind.__name__}")
        return Simulators({"table": {**TABLE, "type": kind.__name__, **options}})

    return make


def demonstrated(simulators, count=5, chunk=3):
    """Groups whose prompts are the views that the expert's decisions follow."""
    return demonstrate_episodes(Reflex(), simulators, starts(count), chunk, bootstrap=True)


def straight_demonstration(start, chunk):
    """(picture, state) at each decision of the expert, and at the end; a world that is looked at after every step."""
    env = robotics.make({**TABLE, "num_envs": 1})
    seen, views, step = env.reset([start.episode]), [], 0
    while True:
        if step % chunk == 0:
            views.append((seen.images["top"][0], seen.state[0]))
        result = env.chunk_step(env.expert_action()[:, None])
        seen, step = result.observation, step + 1
        if result.info["done"].item():
            return [*views, (seen.images["top"][0], seen.state[0])], bool(result.truncated.item())


def same_views(left, right):
    """Equal decisions, and equal pictures and states at each of them and at the end."""
    same(left, right)
    for one, other in zip(left, right):
        [a], [b] = one.trajectories, other.trajectories
        views = [[decision.prompt for decision in t.decisions] for t in (a, b)]
        assert (a.final_prompt is None) == (b.final_prompt is None) == (not a.truncated)
        for x, y in zip([*views[0], a.final_prompt], [*views[1], b.final_prompt], strict=True):
            if x is not None:
                assert [image.tobytes() for image in x.images] == [image.tobytes() for image in y.images]
                assert torch.equal(x.state, y.state)
                assert x.messages == y.messages
        assert [d.step_rewards for d in a.decisions] == [d.step_rewards for d in b.decisions]


@pytest.mark.parametrize("worlds", [2, 5])
@pytest.mark.parametrize("chunk", [1, 3, 4, 9])
def test_demonstrations_equal_those_with_a_look_after_every_step(simulators, chunk, worlds):
    before = torch.get_rng_state()
    found = demonstrated(simulators(Counted, num_envs=worlds), chunk=chunk)
    assert torch.equal(torch.get_rng_state(), before)
    ended = set()
    for group, start in zip(found, starts(5), strict=True):
        [trajectory] = group.trajectories
        views, truncated = straight_demonstration(start, chunk)
        prompts = [decision.prompt for decision in trajectory.decisions]
        prompts += [trajectory.final_prompt] if truncated else []
        assert trajectory.truncated == truncated
        for prompt, (picture, state) in zip(prompts, views if truncated else views[:-1], strict=True):
            assert prompt.images[0].tobytes() == picture.numpy().tobytes()
            assert torch.equal(prompt.state, state)
        ended.add(truncated)
    assert ended == {True, False}


def test_demonstrations_render_once_a_chunk(simulators, monkeypatch):
    monkeypatch.setattr(Counted, "drawn", 0)
    groups = demonstrated(simulators(Counted), chunk=4)
    assert max(len(t.decisions) for group in groups for t in group.trajectories) == 2
    assert Counted.drawn == 3, "at the start, and after each of two chunks of four steps"


@pytest.mark.parametrize("chunk", [3, 4])
def test_a_world_that_fails_between_its_end_and_the_look_plays_again(simulators, monkeypatch, chunk):
    """It fails at step 6: the last of a chunk of three, the second of a chunk of four."""
    monkeypatch.setattr(FailsAtTheEnd, "fails", True)
    failing = simulators(FailsAtTheEnd)
    same_views(demonstrated(failing, chunk=chunk), demonstrated(simulators(Counted), chunk=chunk))
    assert failing.dropped == 1


class OnDevice(torch.Tensor):
    """Stands for a tensor on a GPU: each copy to the CPU is counted, and no other read of its values is let through."""

    copies = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = func.__name__
        if name == "cpu":
            cls.copies += 1
            return args[0].as_subclass(torch.Tensor)
        assert name not in ("tolist", "item", "numpy", "__bool__", "__int__", "__float__"), f"{name} waits for the GPU"
        return super().__torch_function__(func, types, args, kwargs or {})


def on_device(value):
    if isinstance(value, dict):
        return {key: on_device(part) for key, part in value.items()}
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **{name: on_device(part) for name, part in vars(value).items()})
    return value.as_subclass(OnDevice) if isinstance(value, torch.Tensor) else value


class Device(VectorEnv):
    """A tabletop whose results are on a GPU."""

    SETTINGS, has_expert = TabletopEnv.SETTINGS, True

    def __init__(self, **options):
        self.env = TabletopEnv(**options)
        for name in ("num_envs", "action_dim", "state_dim", "cameras", "max_steps"):
            setattr(self, name, getattr(self.env, name))

    def __getattribute__(self, name):
        if name not in ("reset", "chunk_step", "unseen_step", "observe", "expert_action", "render"):
            return super().__getattribute__(name)
        return lambda *given: on_device(getattr(self.env, name)(*given))

    def reset(self, ids, worlds=None): ...
    def chunk_step(self, actions): ...
    def observe(self): ...
    def render(self, worlds=None): ...


@pytest.mark.parametrize("expert", [False, True])
def test_a_gpu_s_results_are_copied_once_a_call_however_many_worlds(simulators, monkeypatch, expert):
    copies = {}
    for worlds in (2, 7):
        monkeypatch.setattr(OnDevice, "copies", 0)
        config = {"max_steps": 6, "terminate_on_success": False, "num_envs": worlds}
        made = []
        for kind in (Device, Counted):
            table = simulators(kind, **config)
            if expert:
                made.append(demonstrated(table, worlds))
            else:
                made.append(play(Reflex(), Dice(), table, starts(worlds), SamplingConfig(), 1, 3, 2, bootstrap=True))
        same_views(*made)
        copies[worlds] = OnDevice.copies
    assert copies[2] == copies[7] > 0
