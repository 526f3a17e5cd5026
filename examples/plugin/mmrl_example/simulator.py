"""A simulator: the embedded tabletop with a gripper that moves slower."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from robotics.options import Option
from robotics.settings import TABLETOP, SimulatorSettings
from robotics.tabletop import TabletopEnv
from robotics.types import StepResult


class Slow(TabletopEnv):
    """A tabletop whose moves are shortened by `slowness`; the gripper's command is left as it is."""

    SETTINGS: ClassVar[SimulatorSettings] = replace(
        TABLETOP, options={**TABLETOP.options, "slowness": Option(float, 0.5, low=0.0, high=1.0)}
    )

    def __init__(self, **options: Any):
        self.slowness = options.pop("slowness")
        super().__init__(**options)

    def unseen_step(self, actions: Tensor | Sequence[Any]) -> StepResult:
        """See `VectorEnv.unseen_step`."""
        slower = actions.clone()
        slower[..., :2] *= 1.0 - self.slowness
        return super().unseen_step(slower)
