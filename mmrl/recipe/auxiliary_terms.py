"""Auxiliary terms by name: lambda_k X_k of the loss. Their code is in `mmrl.objectives.auxiliary_terms`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from mmrl.recipe.companions import REFERENCE
from mmrl.recipe.parts import Part, PartSettings
from mmrl.recipe.registry import Registry


class AuxiliaryTermSettings(PartSettings):
    """weight x the mean of X over the units of some streams, added to the loss, by the `kind` of a term."""

    weight: float
    streams: list[str] | None = Field(None, description="streams whose units it is a mean over; null: all")

    def divergences(self) -> tuple[tuple[str, str], ...]:
        """(form, name) of each divergence that it reads of `Likelihood.divergences`."""
        return ()

    def compared_with(self) -> tuple[str, ...]:
        return tuple(name for _, name in self.divergences())


@dataclass(frozen=True, slots=True, kw_only=True)
class AuxiliaryTerm(Part):
    """A term: `code` is a function of (`TermUnits`, settings) to X at each unit [R, U], with its gradient."""


class ZLoss(AuxiliaryTermSettings):
    """Holds the logits' normaliser near 1."""

    weight: float = Field(1e-4, description="1e-4 in PaLM")


class Divergence(AuxiliaryTermSettings):
    """How far the policy's distribution p stands from another's, q, over the whole vocabulary."""

    weight: float = 0.05
    to: str = Field(REFERENCE, description="reference, or the name of a companion")
    form: Literal["forward", "reverse", "js"] = Field(
        "forward", description="forward: KL(q || p); reverse: KL(p || q); js: their Jensen-Shannon divergence"
    )

    def divergences(self) -> tuple[tuple[str, str], ...]:
        return ((self.form, self.to),)


AUXILIARY_TERMS: Registry[AuxiliaryTerm] = Registry(
    "auxiliary_term",
    {
        "z_loss": AuxiliaryTerm(
            code="mmrl.objectives.auxiliary_terms:z_loss",
            settings=ZLoss,
            needs=frozenset({"normaliser"}),
            doc="log(Z)^2, Z the sum of the exponentiated logits that a unit's softmax is over (z-loss, PaLM, arXiv "
            "2204.02311).",
        ),
        "divergence": AuxiliaryTerm(
            code="mmrl.objectives.auxiliary_terms:divergence",
            settings=Divergence,
            needs=frozenset({"distribution"}),
            doc="KL(q || p), KL(p || q) or their Jensen-Shannon divergence over the whole vocabulary, p the policy's "
            "distribution at the unit and q that of the reference or a companion.",
        ),
    },
)
