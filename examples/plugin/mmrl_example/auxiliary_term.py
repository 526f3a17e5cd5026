"""An auxiliary term: holds each unit's log-prob near that of the policy which sampled it."""

from pydantic import Field
from torch import Tensor

from mmrl.objectives.auxiliary_terms import TermUnits
from mmrl.recipe.auxiliary_terms import AuxiliaryTerm, AuxiliaryTermSettings


class AnchorSettings(AuxiliaryTermSettings):
    """How strongly."""

    kind: str = "example_anchor"
    weight: float = Field(0.01, description="of the squared difference")


def anchor(units: TermUnits, own: AnchorSettings) -> Tensor:
    """(log pi - log pi_old)^2 at each unit [R, U]."""
    return (units.likelihood.log_probs_RU - units.old_RU).square()


ANCHOR = AuxiliaryTerm(code=anchor, settings=AnchorSettings, doc="(log pi - log pi_old)^2, a squared step.")
