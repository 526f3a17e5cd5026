"""The contract's checks over simulators whose worker processes take seconds to start, and whether they can run here."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from robotics import contract
from robotics.base import VectorEnv
from robotics.types import StepResult

# First the one that needs an object that was never reset.
CHECKS = [
    contract.check_refusals,
    contract.check_shapes,
    contract.check_equal_starts,
    contract.check_equal_rollouts,
    contract.check_masks,
    contract.check_chunking,
    contract.check_unseen_steps,
    contract.check_partial_reset,
    contract.check_success,
    contract.check_global_rng,
]
# Those that depend on the task, for tasks beside the one that goes through all.
OF_A_TASK = [
    contract.check_equal_starts,
    contract.check_equal_rollouts,
    contract.check_masks,
    contract.check_partial_reset,
    contract.check_success,
]
# Those that need one object alone, for simulators whose workers take many seconds to start.
OF_ONE = [check for check in CHECKS if check is not contract.check_equal_starts]
# Package -> code that starts what draws its pictures, without anything of this project; what a failure means.
RENDERERS = {
    "mani_skill": ("import sapien; sapien.render.RenderSystem(sapien.Device('cpu'))", "no Vulkan device"),
    "libero": (
        "import os; os.environ['MUJOCO_GL'] = 'egl'; import mujoco; mujoco.GLContext(16, 16).make_current()",
        "EGL does not work",
    ),
}


def skip_without(package: str) -> None:
    """Skips the test where the package of a simulator is not installed, or its renderer does not start."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")
    code, lacking = RENDERERS[package]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        errors = re.findall(r"^[\w.]+Error: .*", done.stderr, re.MULTILINE) or [f"exit code {done.returncode}"]
        pytest.skip(f"{package}: {lacking} ({errors[0]})")


def expert_episode(env: VectorEnv) -> tuple[list[float], StepResult]:
    """Rewards and last result of the expert's episode in a simulator of one world that was just reset."""
    rewards, done = [], False
    while not done:
        result = env.chunk_step(env.expert_action()[:, None])
        rewards.append(result.reward.item())
        done = result.info["done"].item()
    return rewards, result


class Kept:
    """Hands out simulators, and hands them out again after their `close`; `end` closes them all."""

    def __init__(self, make_env: Callable[[], VectorEnv]):
        self._make, self._free, self._close = make_env, [], []

    def __call__(self) -> VectorEnv:
        if not self._free:
            env = self._make()
            self._close.append(env.close)
            env.close = lambda: self._free.append(env)
            return env
        return self._free.pop()

    def end(self) -> None:
        """Close every simulator that was made."""
        for close in self._close:
            close()


def check_renders(env: VectorEnv, draws: Callable[[Any], bool], ids: Sequence[int]) -> None:
    """A ManiSkill simulator renders for no step that nobody looks at, and once for the chunk that somebody does.

    draws: whether ManiSkill's environment renders when it is asked for an observation.
    """
    rendered, look = [], env._base.get_obs
    env._base.get_obs = lambda *given, **named: rendered.append(draws(env._base)) or look(*given, **named)
    still = torch.zeros(env.num_envs, 1, env.action_dim)
    env.reset(ids)
    rendered.clear()
    for _ in range(3):
        assert env.unseen_step(still).observation is None
    assert True not in rendered
    env.chunk_step(still)
    assert rendered.count(True) == 1
    env.close()
