"""What a simulator returns. Capital suffixes are shapes: B worlds, C steps of a chunk, A action dims, S state dims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """What the policy sees of B worlds.

    images: camera name -> uint8 [B, H, W, 3], RGB, row 0 on top.
    state: float32 [B, S], the robot's own sensors; units are the simulator's (docs/simulators.md).
    instruction: B strings.
    """

    images: dict[str, Tensor]
    state: Tensor
    instruction: list[str]

    def cpu(self) -> Observation:
        """The same on the CPU, each tensor copied at once."""
        images = {camera: image.cpu() for camera, image in self.images.items()}
        return Observation(images, self.state.cpu(), self.instruction)


@dataclass(frozen=True)
class StepResult:
    """Outcome of a chunk of C steps in B worlds.

    observation: after the last step of the chunk; a finished world shows the state it finished in. None where nothing
        was looked at (`VectorEnv.unseen_step`).
    reward: float32 [B, C], 0 where not valid.
    terminated, truncated: bool [B, C], True only at the step that ended the episode, never both at once.
    valid: bool [B, C], True where the step counted: up to and including the step that ended the episode. No step
        counts of a chunk in which the simulator failed.
    info: per-world tensors over the episode so far: `success_once` bool [B], `success_at_end` bool [B] (at the last
        counted step), `return` float32 [B], `episode_len` int64 [B], `done` bool [B], `dropped` bool [B]: the
        simulator failed in this episode, which must not be trained on or counted. A simulator may add its own.
    """

    observation: Observation | None
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    info: dict[str, Any]

    def cpu(self) -> StepResult:
        """The same on the CPU, each tensor copied at once."""
        return StepResult(
            observation=None if self.observation is None else self.observation.cpu(),
            info={name: value.cpu() for name, value in self.info.items()},
            **{name: getattr(self, name).cpu() for name in ("reward", "terminated", "truncated", "valid")},
        )
