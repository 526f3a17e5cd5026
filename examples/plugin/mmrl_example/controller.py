"""A controller: halves the learning rate after steps of a large gradient."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from mmrl.objectives.controllers import Control
from mmrl.recipe.controllers import Controller, ControllerSettings


class CalmSettings(ControllerSettings):
    """What counts as large."""

    kind: str = "example_calm"
    norm: float = Field(1.0, gt=0.0, description="gradient norm above which the next step is halved")


class Calm:
    """See `CalmSettings`."""

    def __init__(self, own: CalmSettings, objective: Any):
        self.own, self.factor = own, 1.0

    def control(self) -> Control:
        """The next step's factor of the learning rate."""
        return Control(learning_rate=self.factor)

    def observe(self, figures: Mapping[str, float]) -> None:
        """Takes in the gradient's norm."""
        self.factor = 0.5 if figures.get("optim/grad_norm", 0.0) > self.own.norm else 1.0

    def state_dict(self) -> dict[str, Any]:
        """The factor."""
        return {"factor": self.factor}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `state_dict`."""
        self.factor = state["factor"]


CALM = Controller(code=Calm, settings=CalmSettings, doc="halves the learning rate after a large gradient.")
