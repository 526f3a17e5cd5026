"""The contract as checks that any simulator can be put through; each raises AssertionError with what is wrong.

check_contract(lambda: robotics.make({"type": ..., "num_envs": 8, ...}), ids=range(8))
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from robotics.base import VectorEnv
from robotics.counter_rng import uniform, world_keys
from robotics.types import Observation, StepResult

INFO = {
    "success_once": torch.bool,
    "success_at_end": torch.bool,
    "return": torch.float32,
    "episode_len": torch.int64,
    "done": torch.bool,
    "dropped": torch.bool,
}


def check_contract(make_env: Callable[[], VectorEnv], ids: Sequence[int]) -> None:
    """Run every check. `ids`: one different id per world of `make_env()`."""
    ids = list(ids)
    check_shapes(make_env, ids)
    check_equal_starts(make_env, ids)
    check_equal_rollouts(make_env, ids)
    check_masks(make_env, ids)
    check_chunking(make_env, ids)
    check_unseen_steps(make_env, ids)
    check_partial_reset(make_env, ids)
    check_success(make_env, ids)
    check_refusals(make_env, ids)
    check_global_rng(make_env, ids)


def random_actions(env: VectorEnv, ids: Sequence[int], steps: int) -> Tensor:
    """float32 [B, steps, A] in [-1, 1], a function of the ids alone."""
    keys_B = world_keys(torch.as_tensor(list(ids), dtype=torch.int64), stream=1)
    actions = uniform(keys_B, torch.arange(steps * env.action_dim)).view(-1, steps, env.action_dim)
    return env.action_low + actions * (env.action_high - env.action_low)


def assert_same(
    left: Observation, right: Observation, rows: Sequence[int] | None = None, only: Sequence[int] | None = None
) -> None:
    """Bit-equal observations; `rows` picks and orders the worlds of `left`, `only` those of `right`."""
    rows = list(range(len(left.instruction)) if rows is None else rows)
    only = list(range(len(right.instruction)) if only is None else only)
    assert [left.instruction[row] for row in rows] == [right.instruction[row] for row in only], "instructions differ"
    assert torch.equal(left.state[rows], right.state[only]), "states differ"
    assert left.images.keys() == right.images.keys(), "cameras differ"
    for camera, image in left.images.items():
        assert torch.equal(image[rows], right.images[camera][only]), f"images of {camera} differ"


def check_shapes(make_env: Callable[[], VectorEnv], ids: list[int], chunk: int = 3) -> None:
    """Shapes, dtypes and ranges of everything that reset, chunk_step and render return."""
    env = make_env()
    _check_observation(env, env.reset(ids))
    result = env.chunk_step(random_actions(env, ids, chunk))
    _check_observation(env, result.observation)
    for name in ("reward", "terminated", "truncated", "valid"):
        value = getattr(result, name)
        assert value.shape == (env.num_envs, chunk), f"{name} has shape {tuple(value.shape)}"
        assert value.dtype == (torch.float32 if name == "reward" else torch.bool), f"{name} is {value.dtype}"
    for name, dtype in INFO.items():
        value = result.info[name]
        assert value.shape == (env.num_envs,), f"info[{name!r}] has shape {tuple(value.shape)}"
        assert value.dtype == dtype, f"info[{name!r}] is {value.dtype}"
    assert not result.info["dropped"].any(), "an episode was dropped"
    picture = env.render()
    assert picture.dtype == torch.uint8, "render() is not uint8"
    assert picture.dim() == 4, f"render() has shape {tuple(picture.shape)}"
    assert picture.shape[::3] == (env.num_envs, 3), f"render() has shape {tuple(picture.shape)}"
    assert torch.equal(env.render([env.num_envs - 1]), picture[-1:]), "render(worlds) is not those rows of render()"
    env.close()


def _check_observation(env: VectorEnv, observation: Observation, idle: Sequence[int] = ()) -> None:
    assert tuple(observation.images) == tuple(env.cameras), "images are not those of env.cameras"
    for camera, image in observation.images.items():
        assert image.dtype == torch.uint8, f"image {camera} is {image.dtype}"
        assert image.dim() == 4, f"image {camera} has shape {tuple(image.shape)}"
        assert image.shape[::3] == (env.num_envs, 3), f"image {camera} has shape {tuple(image.shape)}"
    assert observation.state.shape == (env.num_envs, env.state_dim), f"state has shape {tuple(observation.state.shape)}"
    assert observation.state.dtype == torch.float32, f"state is {observation.state.dtype}"
    assert torch.isfinite(observation.state).all(), "state is not finite"
    assert len(observation.instruction) == env.num_envs, "not one instruction per world"
    instructions = [text for world, text in enumerate(observation.instruction) if world not in idle]
    assert all(isinstance(text, str) and text for text in instructions), "an instruction is empty"


def check_equal_starts(make_env: Callable[[], VectorEnv], ids: list[int]) -> None:
    """Equal ids start alike: again, after steps, in another order, in another object, and beside other worlds."""
    env, other = make_env(), make_env()
    start = env.reset(ids)
    env.chunk_step(random_actions(env, ids, 4))
    assert_same(start, env.reset(ids))
    assert_same(start, other.reset(torch.tensor(ids)))
    assert_same(start, other.reset(ids[::-1]), rows=range(len(ids))[::-1])
    for row in (0, len(ids) - 1):
        assert_same(start, other.reset([ids[row]] * len(ids)), rows=[row] * len(ids))
    env.close()
    other.close()


def check_equal_rollouts(make_env: Callable[[], VectorEnv], ids: list[int]) -> None:
    """Equal ids and actions end alike, in whatever order the worlds stand."""
    env = make_env()
    actions = random_actions(env, ids, env.max_steps)
    env.reset(ids)
    first = env.chunk_step(actions)
    env.reset(ids[::-1])
    second = env.chunk_step(actions.flip(0))
    assert_same(first.observation, second.observation, rows=range(len(ids))[::-1])
    for name in ("reward", "terminated", "truncated", "valid"):
        assert torch.equal(getattr(first, name).flip(0), getattr(second, name)), f"{name} depends on the order"
    env.close()


def check_masks(make_env: Callable[[], VectorEnv], ids: list[int], chunk: int = 5) -> None:
    """Nothing after the first done counts or moves, and the records are the sums of the counted steps."""
    env = make_env()
    env.reset(ids)
    steps = env.max_steps + 2 * chunk
    actions = random_actions(env, ids, steps - steps % chunk)
    results = [env.chunk_step(part) for part in actions.split(chunk, dim=1)]
    reward, terminated, truncated, valid = (
        torch.cat([getattr(result, name) for result in results], dim=1)
        for name in ("reward", "terminated", "truncated", "valid")
    )
    ended = terminated | truncated
    info = results[-1].info
    assert (ended.sum(dim=1) == 1).all(), "an episode does not end exactly once"
    assert not (terminated & truncated).any(), "a step is both terminated and truncated"
    assert torch.equal(valid, ended.cumsum(dim=1) - ended.long() == 0), "valid is not every step up to the first done"
    assert not reward[~valid].any(), "a step after the end has a reward"
    assert torch.equal(info["episode_len"], valid.sum(dim=1)), "episode_len is not the number of valid steps"
    assert (info["episode_len"] <= env.max_steps).all(), "an episode is longer than max_steps"
    assert (info["episode_len"][truncated.any(dim=1)] == env.max_steps).all(), "truncated before max_steps"
    torch.testing.assert_close(info["return"], reward.sum(dim=1), rtol=1e-5, atol=1e-5)
    assert info["done"].all(), "done is not set after the end"
    _check_frozen(results)
    env.close()


def _check_frozen(results: list[StepResult]) -> None:
    for before, after in pairwise(results):
        rows = before.info["done"].nonzero()[:, 0]
        assert torch.equal(before.observation.state[rows], after.observation.state[rows]), "a finished world moved"
        for camera, image in before.observation.images.items():
            assert torch.equal(image[rows], after.observation.images[camera][rows]), "a finished world looks different"
        for name in INFO:
            assert torch.equal(before.info[name][rows], after.info[name][rows]), f"{name} changed after the end"


def check_chunking(make_env: Callable[[], VectorEnv], ids: list[int]) -> None:
    """One chunk of C steps equals C chunks of one step."""
    env = make_env()
    actions = random_actions(env, ids, env.max_steps)
    env.reset(ids)
    whole = env.chunk_step(actions)
    env.reset(ids)
    steps = [env.chunk_step(action) for action in actions.split(1, dim=1)]
    assert_same(whole.observation, steps[-1].observation)
    for name in ("reward", "terminated", "truncated", "valid"):
        joined = torch.cat([getattr(step, name) for step in steps], dim=1)
        assert torch.equal(getattr(whole, name), joined), f"{name} depends on the chunk length"
    env.close()


def check_unseen_steps(make_env: Callable[[], VectorEnv], ids: list[int]) -> None:
    """Steps that nobody looks at end as others do, and what is looked at afterwards is what it would have been."""
    env = make_env()
    steps = random_actions(env, ids, env.max_steps + 2).split(1, dim=1)
    middle, last = len(steps) // 2, len(ids) - 1
    others = list(range(last))
    env.reset(ids)
    looked_at = [env.chunk_step(step) for step in steps]
    env.reset(ids)
    unseen = [env.unseen_step(step) for step in steps[:middle]]
    assert_same(looked_at[middle - 1].observation, env.observe())
    assert_same(looked_at[middle - 1].observation, env.observe())
    unseen += [env.unseen_step(step) for step in steps[middle:-1]] + [env.chunk_step(steps[-1])]
    assert all(result.observation is None for result in unseen[:-1]), "an unseen step has an observation"
    assert_same(looked_at[-1].observation, unseen[-1].observation)
    for looked, unlooked in zip(looked_at, unseen):
        for name in ("reward", "terminated", "truncated", "valid"):
            assert torch.equal(getattr(looked, name), getattr(unlooked, name)), f"{name} depends on being seen"
        for name in INFO:
            assert torch.equal(looked.info[name], unlooked.info[name]), f"{name} depends on being seen"
    start = env.reset(ids)
    env.unseen_step(torch.cat(steps[:middle], dim=1))
    after = env.reset(ids[:1], worlds=[last])
    assert_same(start, after, rows=[0], only=[last])
    assert_same(looked_at[middle - 1].observation, after, rows=others, only=others)
    env.close()


def check_partial_reset(make_env: Callable[[], VectorEnv], ids: list[int]) -> None:
    """A world that is reset alone starts as it would with all others, which go on undisturbed."""
    env = make_env()
    last = len(ids) - 1
    actions = random_actions(env, ids, 4)
    start = env.reset(ids)
    before = env.chunk_step(actions[:, :2]).observation
    after = env.reset(ids[:1], worlds=[last])
    others = list(range(last))
    assert torch.equal(after.state[last], start.state[0]), "a world reset alone starts elsewhere"
    assert torch.equal(after.state[others], before.state[others]), "a partial reset moved another world"
    assert after.instruction == [*before.instruction[:last], start.instruction[0]], "the instructions are wrong"
    for camera, image in after.images.items():
        assert torch.equal(image[last], start.images[camera][0]), "a world reset alone looks different"
        assert torch.equal(image[others], before.images[camera][others]), "a partial reset changed another picture"
    resumed = env.chunk_step(actions[:, 2:])
    env.reset(ids)
    whole = env.chunk_step(actions)
    assert torch.equal(resumed.observation.state[others], whole.observation.state[others]), (
        "another world was disturbed"
    )
    for name in INFO:
        assert torch.equal(resumed.info[name][others], whole.info[name][others]), f"{name} of another world changed"
    assert resumed.info["episode_len"][last] <= 2, "the records of a world reset alone went on"
    env.close()


def check_success(make_env: Callable[[], VectorEnv], ids: list[int]) -> None:
    """No world starts solved; success_once never goes back; the expert, where there is one, succeeds somewhere."""
    env = make_env()
    env.reset(ids)
    once = None
    for step in range(env.max_steps):
        random_BA = random_actions(env, ids, env.max_steps)[:, step]
        action_BA = env.expert_action() if env.has_expert else random_BA
        assert action_BA.shape == (env.num_envs, env.action_dim), f"an action has shape {tuple(action_BA.shape)}"
        assert action_BA.abs().max() <= env.action_high, "the expert leaves the control limits"
        info = env.chunk_step(action_BA[:, None]).info
        assert not (info["success_at_end"] & ~info["success_once"]).any(), "success at the end but not once"
        assert once is None or not (once & ~info["success_once"]).any(), "success_once was taken back"
        once = info["success_once"]
    assert once.any() or not env.has_expert, "the expert never succeeds"
    env.close()


def check_refusals(make_env: Callable[[], VectorEnv], ids: list[int]) -> None:
    """Wrong ids and wrong actions are refused, and stepping before a reset is."""
    env = make_env()
    zeros = torch.zeros(env.num_envs, 2, env.action_dim)
    _assert_raises(RuntimeError, lambda: env.chunk_step(zeros))
    _assert_raises(RuntimeError, lambda: env.unseen_step(zeros))
    _assert_raises(RuntimeError, env.observe)
    for wrong in (ids[:-1], [*ids, 0], [0.5] * len(ids)):
        _assert_raises(ValueError, lambda wrong=wrong: env.reset(wrong))
    last = env.num_envs - 1
    observation = env.reset(ids[:1], worlds=[last])
    _check_observation(env, observation, idle=range(last))
    info = env.chunk_step(zeros).info
    assert info["done"].tolist() == [True] * last + [False], "a world in which no episode was started is not done"
    assert info["episode_len"].tolist() == [0] * last + [2], "a world without an episode counts steps"
    assert_same(env.reset(ids[:1] * env.num_envs), observation, rows=[last], only=[last])
    env.reset(ids)
    for wrong in ([env.num_envs], [-1], [0.0], []):
        _assert_raises(ValueError, lambda wrong=wrong: env.reset(ids[:1], worlds=wrong))
    _assert_raises(ValueError, lambda: env.reset(ids[:2], worlds=[0, 0]))
    for wrong in (zeros[:, 0], zeros[:, :0], zeros[..., :-1], zeros[:-1], torch.full_like(zeros, float("nan"))):
        _assert_raises(ValueError, lambda wrong=wrong: env.chunk_step(wrong))
    env.close()


def _assert_raises(expected: type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except expected:
        return
    raise AssertionError(f"expected {expected.__name__}")


def check_global_rng(make_env: Callable[[], VectorEnv], ids: list[int]) -> None:
    """The simulator neither draws from the global generators nor depends on their seeds."""
    saved = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        starts = []
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            python, numpy, generator = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
            env = make_env()
            starts.append(env.reset(ids))
            env.chunk_step(random_actions(env, ids, 4))
            env.close()
            assert random.getstate() == python, "the global generator of random was used"
            assert (np.random.get_state()[1] == numpy).all(), "the global generator of numpy was used"
            assert torch.equal(torch.get_rng_state(), generator), "the global generator of torch was used"
        assert_same(*starts)
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])
        torch.set_rng_state(saved[2])
