"""A simulator around another one, for what changes only part of its behaviour."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from robotics.base import VectorEnv
from robotics.types import Observation, StepResult


class Wrapper(VectorEnv):
    """Passes every call on to `env`, except `unseen_step`, which goes through the wrapper's own `chunk_step`."""

    def __init__(self, env: VectorEnv):
        self.env = env
        self.num_envs, self.action_dim, self.state_dim = env.num_envs, env.action_dim, env.state_dim
        self.cameras, self.max_steps = env.cameras, env.max_steps
        self.action_low, self.action_high, self.has_expert = env.action_low, env.action_high, env.has_expert
        self.concurrent = env.concurrent

    @property
    def dropped_episodes(self) -> int:
        """See `VectorEnv`."""
        return self.env.dropped_episodes

    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """See `VectorEnv.reset`."""
        return self.env.reset(ids, worlds)

    def chunk_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.chunk_step`."""
        return self.env.chunk_step(actions)

    def observe(self) -> Observation:
        """See `VectorEnv.observe`."""
        return self.env.observe()

    def expert_action(self) -> Tensor:
        """See `VectorEnv.expert_action`."""
        return self.env.expert_action()

    def render(self, worlds: Tensor | Sequence[int] | None = None) -> Tensor:
        """See `VectorEnv.render`."""
        return self.env.render(worlds)

    def close(self) -> None:
        """Close `env`."""
        self.env.close()
