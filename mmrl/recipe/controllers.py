"""Controllers by name: what changes an objective from step to step. Their code is in `mmrl.objectives.controllers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from mmrl.recipe.parts import Part, PartSettings
from mmrl.recipe.registry import Registry


class ControllerSettings(PartSettings):
    """What sees a step's figures and sets values of the next step, by the `kind` of a controller."""


class AdaptiveKL(ControllerSettings):
    """Moves `kl.weight` towards a KL of `target`."""

    target: PositiveFloat = Field(description="nats per unit, of the figure policy/kl_ref")
    gain: PositiveFloat = Field(0.1, description="K_beta")
    bound: PositiveFloat = Field(0.2, description="largest relative error that counts")

    def refusal(self, objective: Any) -> str | None:
        if objective.kl.weight == 0:
            return "needs kl.weight above 0 to start from, and a stream with the term kl"
        return None


class AdaptiveEntropy(ControllerSettings):
    """Moves `entropy`, the bonus, up where the policy's entropy is below `target`, else down; the bonus is 0 there."""

    target: PositiveFloat = Field(description="nats per unit, of the figure policy/entropy")
    delta: PositiveFloat = Field(0.005, description="how far each step")
    low: NonNegativeFloat = 0.0
    high: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> AdaptiveEntropy:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self

    def refusal(self, objective: Any) -> str | None:
        if not objective.under("entropy"):
            return "needs a stream with the term entropy"
        return None


class OfKey(ControllerSettings):
    """A controller of one number of the objective."""

    key: str = Field(description="of the objective, such as kl.weight or streams.demo.weight")

    def value(self, objective: Any) -> float | None:
        """The number at `key` of an `Objective`; None where there is none."""
        node: Any = objective.model_dump(mode="json", by_alias=True)
        for part in self.key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return float(node) if isinstance(node, int | float) and not isinstance(node, bool) else None

    def refusal(self, objective: Any) -> str | None:
        if self.value(objective) is None:
            return f"sets a number, and key {self.key} is none of the objective"
        return None


class Anneal(OfKey):
    """Moves a number along a straight line over a stage's first steps."""

    start: float
    end: float
    steps: PositiveInt = Field(description="from start to end; constant afterwards")


class Chance(OfKey):
    """Lets a number count in some steps only."""

    probability: float = Field(0.6, gt=0.0, lt=1.0)
    seed: int = 0


class EntropyGate(OfKey):
    """Takes a number down to 0 while the policy's entropy is high, until it is low."""

    high: PositiveFloat = Field(description="nats per unit, of policy/entropy: above it the number is 0")
    low: PositiveFloat = Field(description="below it the number is the objective's again")

    @model_validator(mode="after")
    def _ordered(self) -> EntropyGate:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Switch(ControllerSettings):
    """Which of two streams a step learns from, the supervised one alone at first."""

    demonstrations: str = Field("demo", description="the supervised stream")
    rollouts: str = Field("rl", description="the other one")
    warmup: PositiveInt = Field(100, description="steps of the supervised stream alone")
    gamma: PositiveFloat = 1.0
    seed: int = 0

    def refusal(self, objective: Any) -> str | None:
        for name in (self.demonstrations, self.rollouts):
            stream = objective.streams.get(name)
            if stream is None or not isinstance(stream.weight, int | float) or stream.complement_of is not None:
                return f"switches weights, and streams.{name}.weight is no number of the objective"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller(Part):
    """A controller: `code` is a class with the methods of `mmrl.objectives.controllers.Controller`.

    It is made of (settings, objective) at the start of a stage.
    """


CONTROLLERS: Registry[Controller] = Registry(
    "controller",
    {
        "adaptive_kl": Controller(
            code="mmrl.objectives.controllers:AdaptiveKL",
            settings=AdaptiveKL,
            doc="beta (1 + gain x clip(KL / target - 1, -bound, bound)) is the next step's `kl.weight` (Ziegler et "
            "al., arXiv 1909.08593).",
        ),
        "anneal": Controller(
            code="mmrl.objectives.controllers:Annealing",
            settings=Anneal,
            doc="start + (end - start) x min(1, step / steps) at `key`.",
        ),
        "chance": Controller(
            code="mmrl.objectives.controllers:Drawn",
            settings=Chance,
            doc="the number at `key` with a probability, else 0, drawn anew each step from seed and step.",
        ),
        "entropy_gate": Controller(
            code="mmrl.objectives.controllers:EntropyGate",
            settings=EntropyGate,
            needs=frozenset({"entropy"}),
            doc="the number at `key` is 0 from where the entropy is above `high` to where it is below `low` (the idea "
            "of AEPO, QwenLong-L1.5).",
        ),
        "switch": Controller(
            code="mmrl.objectives.controllers:Switching",
            settings=Switch,
            doc="the supervised stream alone for `warmup` steps, then with probability G / (G + gamma G_w), else the "
            "other alone: G is the gradient's norm in the latest supervised step, G_w in the last of the warm-up.",
        ),
        "adaptive_entropy": Controller(
            code="mmrl.objectives.controllers:AdaptiveEntropy",
            settings=AdaptiveEntropy,
            needs=frozenset({"entropy"}),
            doc="c + delta where the entropy is below target, else c - delta, within [low, high]; the next step's "
            "`entropy` is c where the entropy is at most target, else 0 (Skywork-OR1, arXiv 2505.22312, as in TRL).",
        ),
    },
)
