"""Weights of units by name: omega, a factor of the coefficient. Their code is in `mmrl.objectives.unit_weights`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from mmrl.recipe.parts import PartSettings, UnitPart
from mmrl.recipe.registry import Registry


class UnitWeightSettings(PartSettings):
    """omega, which multiplies the coefficient at each unit and is not differentiated, by the `kind` of a weight."""


class Behaviour(UnitWeightSettings):
    """rho = pi_old / pi_behaviour: sampling under other probabilities than the trainer's, whoever sampled."""

    level: Literal["unit", "decision", "mean"] = Field(
        "unit", description="rho of each unit, of the decision (a product), or their geometric mean"
    )
    form: Literal["truncate", "mask", "drop"] = Field(
        "truncate",
        description="truncate: rho held between low and high; mask: rho within them, else 0; drop: 1 within, else 0",
    )
    low: NonNegativeFloat = 0.0
    high: PositiveFloat = Field(2.0, description="2 to 10 of a decision, close above 1 of a mean")

    @model_validator(mode="after")
    def _ordered(self) -> Behaviour:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self

    def refusal(self, objective: Any) -> str | None:
        if objective.mismatch.kind != "none":
            return (
                f"and objective.mismatch.kind {objective.mismatch.kind} would correct one gap twice; set "
                "mismatch.kind to none, or leave the weight out"
            )
        return None


class SequenceMask(UnitWeightSettings):
    """Wrong answers that the policy has moved far from."""

    threshold: PositiveFloat = Field(0.5, description="nats per unit, of the mean of log pi_old - log pi")


class TopEntropy(UnitWeightSettings):
    """The units at which the policy is least sure."""

    share: float = Field(0.2, gt=0.0, le=1.0, description="of the step's units in the stream that keep their gradient")


class FirstUnit(UnitWeightSettings):
    """A first unit that decides how the rest is answered, such as a token for thinking or for not thinking."""

    weight: NonNegativeFloat = Field(1e-3, description="of the first unit beside the mean of all others")


class EntropyScale(UnitWeightSettings):
    """scale x e^(slope H)."""

    scale: PositiveFloat = 0.5
    slope: float = Field(-1.0, description="below 0: sure units count more")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitWeight(UnitPart):
    """A weight: `code` gives omega [R, U]."""


_FUNCTIONS = "mmrl.objectives.unit_weights:"

UNIT_WEIGHTS: Registry[UnitWeight] = Registry(
    "unit_weight",
    {
        "behaviour": UnitWeight(
            code=f"{_FUNCTIONS}behaviour",
            settings=Behaviour,
            needs=frozenset({"ratio"}),
            doc="rho = pi_old / pi_behaviour, truncated or masked, of units, whole decisions or their mean (TIS, "
            "masked and sequence-level importance sampling, as TRL and verl document them).",
        ),
        "sequence_mask": UnitWeight(
            code=f"{_FUNCTIONS}sequence_mask",
            settings=SequenceMask,
            needs=frozenset({"ratio"}),
            doc="0 at decisions with A < 0 whose mean log pi_old - log pi exceeds threshold, else 1 (DeepSeek-V3.2, "
            "arXiv 2512.02556).",
        ),
        "top_entropy": UnitWeight(
            code=f"{_FUNCTIONS}chosen",
            settings=TopEntropy,
            prepare=f"{_FUNCTIONS}mark_top_entropy",
            needs=frozenset({"entropy"}),
            doc="1 at the share of the optimizer step's units with the highest entropy, else 0 (arXiv 2506.01939).",
        ),
        "first_unit": UnitWeight(
            code=f"{_FUNCTIONS}first_unit",
            settings=FirstUnit,
            doc="weight x T at a row's first unit and T / (T - 1) at the others, T its units: under `normalise: "
            "sequence` a row is weight x its first unit plus the mean of the rest (DeGRPO, arXiv 2505.13379).",
        ),
        "entropy_scale": UnitWeight(
            code=f"{_FUNCTIONS}chosen",
            settings=EntropyScale,
            prepare=f"{_FUNCTIONS}scale_by_entropy",
            needs=frozenset({"entropy"}),
            doc="scale x sg(exp(slope H)) with the entropy H of each unit (SRFT's weight of demonstrations, arXiv "
            "2506.19767, is 0.5 e^-H, from a digest of the paper).",
        ),
    },
)
