"""A weight of units: later units of a row count less."""

import torch
from pydantic import Field
from torch import Tensor

from mmrl.objectives.coefficients import Units
from mmrl.recipe.unit_weights import UnitWeight, UnitWeightSettings


class FadeSettings(UnitWeightSettings):
    """How fast."""

    kind: str = "example_fade"
    rate: float = Field(0.99, gt=0.0, le=1.0, description="of a unit's weight that the next one has")


def fade(units: Units, own: FadeSettings) -> Tensor:
    """omega [R, U] = rate^u."""
    places = torch.arange(units.log_probs_RU.shape[1], device=units.log_probs_RU.device)
    return own.rate ** places.expand_as(units.log_probs_RU)


FADE = UnitWeight(code=fade, settings=FadeSettings, doc="rate^u at unit u of a row.")
