"""The contract's checks over simulators whose worker processes take seconds to start."""

from collections.abc import Callable

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
    contract.check_partial_reset,
    contract.check_success,
    contract.check_global_rng,
]
# Those that need one object at a time, for settings that others of the same simulator have been checked with.
ONE_OBJECT = [contract.check_equal_rollouts, contract.check_masks, contract.check_partial_reset, contract.check_success]


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
