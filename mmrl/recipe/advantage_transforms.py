"""Advantage transforms by name: what is done to advantages before they weigh rows.

Their code is in `mmrl.objectives.advantage_transforms`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, NonNegativeFloat, PositiveFloat

from mmrl.recipe.parts import Part, PartSettings
from mmrl.recipe.registry import Registry


class AdvantageTransformSettings(PartSettings):
    """A change of the step's advantages, by the `kind` of a transform."""


class Difficulty(AdvantageTransformSettings):
    """Groups that the policy solves half of the time count most."""

    scale: PositiveFloat = Field(1.8, description="of the factor at a success rate of one half")


class SignScale(AdvantageTransformSettings):
    """Factors of advantages by their sign."""

    positive: NonNegativeFloat = 1.0
    negative: NonNegativeFloat = Field(1.0, description="below 1: wrong answers push less")


class SuccessScale(AdvantageTransformSettings):
    """Wrong answers push less where the policy seldom succeeds."""

    low: float = Field(0.2, ge=0.0, le=1.0, description="the factor in a group without a success; 1 where all are")
    power: PositiveFloat = Field(1.0, description="exponent of the success rate")


class Bound(AdvantageTransformSettings):
    """A bound of the size of advantages."""

    bound: PositiveFloat = 5.0


class Whiten(AdvantageTransformSettings):
    """Over the whole batch of trajectories."""

    epsilon: PositiveFloat = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvantageTransform(Part):
    """A transform: `code` is a pure function of (groups of `Scored`, their advantages, settings) to advantages."""


_FUNCTIONS = "mmrl.objectives.advantage_transforms:"

ADVANTAGE_TRANSFORMS: Registry[AdvantageTransform] = Registry(
    "advantage_transform",
    {
        "difficulty": AdvantageTransform(
            code=f"{_FUNCTIONS}difficulty",
            settings=Difficulty,
            doc="A x 4 scale q (1 - q) with the group's mean accuracy q (Observe-R1, as its code has it).",
        ),
        "sign_scale": AdvantageTransform(
            code=f"{_FUNCTIONS}sign_scale",
            settings=SignScale,
            doc="positive x A for A > 0, negative x A for A < 0.",
        ),
        "success_scale": AdvantageTransform(
            code=f"{_FUNCTIONS}success_scale",
            settings=SuccessScale,
            doc="A x (low + (1 - low) q^power) for A < 0 with the group's mean accuracy q; A > 0 stays.",
        ),
        "bound": AdvantageTransform(code=f"{_FUNCTIONS}bound", settings=Bound, doc="min(max(A, -bound), bound)."),
        "whiten": AdvantageTransform(
            code=f"{_FUNCTIONS}whiten",
            settings=Whiten,
            doc="(A - mean) / (std + epsilon) over all trajectories of the step; 0 where all are equal.",
        ),
    },
)
