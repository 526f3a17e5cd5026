"""Auxiliary terms by name: lambda_k X_k of the loss. Their code is in `mmrl.objectives.auxiliary_terms`."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from mmrl.recipe.parts import Part, PartSettings
from mmrl.recipe.registry import Registry


class AuxiliaryTermSettings(PartSettings):
    """weight x the mean of X over the units of some streams, added to the loss, by the `kind` of a term."""

    weight: float
    streams: list[str] | None = Field(None, description="streams whose units it is a mean over; null: all")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuxiliaryTerm(Part):
    """A term: `code` is a function of (`TermUnits`, settings) to X at each unit [R, U], with its gradient."""


class ZLoss(AuxiliaryTermSettings):
    """Holds the logits' normaliser near 1."""

    weight: float = Field(1e-4, description="1e-4 in PaLM")


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
    },
)
