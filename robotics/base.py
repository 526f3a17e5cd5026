"""The contract of every simulator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from robotics.options import Option
from robotics.settings import SimulatorSettings
from robotics.types import Observation, StepResult

if TYPE_CHECKING:
    from torch import Tensor


class SimulatorError(RuntimeError):
    """A simulator that works, but failed in this run in a way that trying again does not cure: one line, with why."""


class VectorEnv(ABC):
    """`num_envs` parallel worlds, stepped together.

    A subclass sets the attributes below in `__init__(**options)`, whose options are those of `SETTINGS`.
    Every action dim lies in [action_low, action_high]; values outside are clamped. concurrent: two objects may be
    driven from two threads at once. Others are called one at a time, though not always from the thread that made it.
    dropped_episodes: how many episodes the simulator failed in so far.
    """

    SETTINGS: ClassVar[SimulatorSettings] = SimulatorSettings({"num_envs": Option(int, 1, low=1)})
    action_low: ClassVar[float] = -1.0
    action_high: ClassVar[float] = 1.0
    has_expert: ClassVar[bool] = False
    concurrent: ClassVar[bool] = False
    dropped_episodes: int = 0

    num_envs: int
    action_dim: int
    state_dim: int
    cameras: tuple[str, ...]
    max_steps: int

    @classmethod
    def build(cls, options: dict[str, Any]) -> VectorEnv:
        """The simulator for checked options; one that puts its worlds in processes of their own overrides this."""
        return cls(**options)

    @classmethod
    def start_count(cls, options: dict[str, Any]) -> int | None:
        """How many different starts the ids name under these checked options: id i + this many starts as id i does.

        None where each id has a start of its own.
        """
        return None

    @abstractmethod
    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """Start an episode in every world, or only in `worlds` (different indices), and observe all of them.

        `ids`: one integer (int64) per started world. Equal ids give exactly the same start, whatever the batch, the
        order, the process or the global RNG state. A world in which no episode was started yet counts as done, and
        what is observed of it means nothing.

        Raises ValueError on wrong ids or worlds.
        """

    @abstractmethod
    def chunk_step(self, actions: Tensor) -> StepResult:
        """Take C steps. `actions`: float [B, C, A] in [action_low, action_high].

        A world that finishes inside the chunk is frozen from then on. Cameras render once, after the chunk.
        Raises ValueError on a wrong shape or a non-finite action, RuntimeError before the first reset.
        """

    def unseen_step(self, actions: Tensor) -> StepResult:
        """`chunk_step` of steps that nobody looks at: no camera renders, and the result's `observation` is None.

        All else, also what follows, is as after `chunk_step`. This default renders, and leaves what it saw out; a
        simulator that can do without overrides it, and then sees to it that `observe`, the next `chunk_step` and a
        reset of other worlds show the worlds as they are.
        Raises as `chunk_step` does.
        """
        return replace(self.chunk_step(actions), observation=None)

    @abstractmethod
    def observe(self) -> Observation:
        """What the worlds show now: the last observation, or one of its own after `unseen_step`.

        Raises RuntimeError before the first reset.
        """

    def expert_action(self) -> Tensor:
        """Next action of the scripted expert in the present state, float32 [B, A].

        Raises RuntimeError where `has_expert` is False.
        """
        raise RuntimeError(f"{type(self).__name__} has no scripted expert")

    @abstractmethod
    def render(self, worlds: Tensor | Sequence[int] | None = None) -> Tensor:
        """Present picture of every world, or of `worlds`, uint8 [W, H, W, 3], for videos and reports."""

    def close(self) -> None:
        """Release what the simulator holds. The object is not usable afterwards."""
        return
