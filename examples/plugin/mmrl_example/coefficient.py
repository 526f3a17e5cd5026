"""A coefficient: the ratio, squashed so that it never exceeds a ceiling."""

from pydantic import Field
from torch import Tensor

from mmrl.objectives.coefficients import Units
from mmrl.recipe.coefficients import Coefficient, OfLevel


class SquashSettings(OfLevel):
    """The ceiling."""

    kind: str = "example_squash"
    ceiling: float = Field(2.0, gt=1.0, description="what psi tends to as the ratio grows")


def squash(units: Units, own: SquashSettings) -> Tensor:
    """psi [R, U] = c r / (c - 1 + r): 1 at r = 1, and c at most."""
    ratio_RU = units.ratio_RU
    return own.ceiling * ratio_RU / (own.ceiling - 1 + ratio_RU)


SQUASH = Coefficient(
    code=squash,
    settings=SquashSettings,
    doc="c r / (c - 1 + r): the ratio, squashed under a ceiling c.",
    needs=frozenset({"ratio"}),
)
