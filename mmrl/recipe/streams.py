"""Streams: rows that share a coefficient, a weight and a normaliser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PositiveInt, SerializeAsAny, model_validator

from mmrl.recipe.base import Settings
from mmrl.recipe.coefficients import COEFFICIENTS, Coefficient, CoefficientSettings
from mmrl.recipe.parts import fill_kinds, make_reader
from mmrl.recipe.unit_weights import UNIT_WEIGHTS, UnitWeight, UnitWeightSettings

AnyCoefficient = Annotated[SerializeAsAny[CoefficientSettings], BeforeValidator(make_reader(COEFFICIENTS, Coefficient))]
AnyUnitWeight = Annotated[SerializeAsAny[UnitWeightSettings], BeforeValidator(make_reader(UNIT_WEIGHTS, UnitWeight))]

# What acts on a stream unless it says otherwise.
TERMS: dict[str, list[str]] = {
    "rollouts": ["kl", "entropy", "mismatch"],
    "injected": ["kl", "entropy"],
    "demonstrations": [],
    "pairs": [],
}


class Schedule(Settings):
    """A weight over the steps of a stage: linear from `start` to `peak` over `warmup` steps, then cosine to `valley`.

    `decay` is the number of steps from peak to valley; afterwards the weight stays at `valley`.
    Source: CHORD, arXiv 2508.11408 (mu schedule).
    """

    start: float = 0.0
    peak: float
    valley: float
    warmup: int = Field(0, ge=0)
    decay: int = Field(0, ge=0)


class Stream(Settings):
    """One stream: where its trajectories come from, its coefficient, weight and normaliser. Its name is free.

    `from`: `rollouts` are the policy's own, `demonstrations` those that are drawn or that a gate puts in a prompt's
    place, `injected` those that `inject` puts into groups, which stay in the stream of the rollouts where no stream
    takes them, `pairs` a demonstration and the answer that it is preferred to. Streams from the same origin each get
    all of it. The advantage of a demonstration is 1, of a rejected answer -1, of an injected one that of its place in
    the group.

    `normalise`: `token` divides by the units of the stream, `sequence` averages each trajectory over its units and
    then over trajectories, `prompt` averages the units of each group and then over groups, `constant` divides by
    trajectories x `max_units` (Dr. GRPO), `sum` by `max_units` alone (LUFFY's and HPT's code: a trajectory's weight
    does not depend on how many there are), `decision` by decisions, `group` by groups alone (preferences: a sum over
    each pair, a mean over pairs).
    """

    model_config = ConfigDict(serialize_by_alias=True)

    origin: Literal["rollouts", "injected", "demonstrations", "pairs"] = Field(
        alias="from", description="what fills it"
    )
    terms: list[Literal["kl", "entropy", "mismatch"]] = Field(
        description="which of the objective's kl, entropy and mismatch act on it; default: all for rollouts, none for "
        "demonstrations, and all but mismatch for injected ones, which no engine sampled"
    )
    coefficient: AnyCoefficient = CoefficientSettings()
    weights: Annotated[dict[str, AnyUnitWeight], BeforeValidator(fill_kinds)] = Field(
        {}, description="factors of the coefficient at each unit; null takes out one of the method's"
    )
    weight: float | Schedule = 1.0
    complement_of: str | None = Field(None, description="weight is 1 - w of that stream, as CHORD's (1-mu) and mu")
    normalise: Literal["token", "sequence", "prompt", "group", "constant", "sum", "decision"] = "token"
    max_units: PositiveInt | None = Field(
        None, description="L_max of `constant` and `sum`; default rollout.max_new_tokens"
    )
    per_prompt: bool = Field(False, description="trajectories weigh 1 / group size, over the prompts of all streams")

    @model_validator(mode="before")
    @classmethod
    def _terms_of_its_origin(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and "terms" not in raw and raw.get("from") in TERMS:
            return {**raw, "terms": TERMS[raw["from"]]}
        return raw

    @model_validator(mode="after")
    def _sampled_by_an_engine(self) -> Stream:
        if "mismatch" in self.terms and self.origin != "rollouts":
            raise ValueError(f"terms: mismatch compares with the engine that sampled, and none sampled {self.origin}")
        return self

    @property
    def sampled(self) -> bool:
        """Whether its trajectories stand in groups of rollouts."""
        return self.origin in ("rollouts", "injected")
