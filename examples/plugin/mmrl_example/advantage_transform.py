"""An advantage transform: takes nothing from answers that are only a little better or worse than their group."""

from pydantic import Field
from torch import Tensor

from mmrl.objectives.scored import Groups
from mmrl.recipe.advantage_transforms import AdvantageTransform, AdvantageTransformSettings


class TrimSettings(AdvantageTransformSettings):
    """What counts as little."""

    kind: str = "example_trim"
    least: float = Field(0.1, ge=0.0, description="advantages below it in size are 0")


def trim(groups: Groups, advantages: list[list[float | Tensor]], own: TrimSettings) -> list[list[float | Tensor]]:
    """0 where |A| < least; an advantage is of a whole trajectory, or a tensor of one per unit."""
    return [[a * (abs(a) >= own.least) for a in group] for group in advantages]


TRIM = AdvantageTransform(code=trim, settings=TrimSettings, doc="0 where |A| < least, else A.")
