"""What changes an objective from step to step, by the figures of the steps before.

`mmrl.recipe.controllers` has names, parameters and sources.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mmrl.contracts.errors import ConfigError
from mmrl.objectives.stateful import Resumable, Stateful, load_states
from mmrl.recipe import controllers as settings
from mmrl.recipe.controllers import CONTROLLERS
from mmrl.recipe.objective import Objective
from mmrl.recipe.reading import validate
from mmrl.recipe.training import StageConfig


@dataclass(frozen=True, slots=True)
class Control:
    """What holds in a step.

    Attributes:
        objective: values by their keys in the objective, such as `kl.weight`, `streams.demo.weight` or
            `streams.rl.coefficient.high`.
        learning_rate: factor of the schedule's.
        temperature: of rollouts, or None: the recipe's.
    """

    objective: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float = 1.0
    temperature: float | None = None

    def figures(self) -> dict[str, float]:
        """What it sets, as metrics."""
        figures = {f"control/{key}": float(value) for key, value in self.objective.items()}
        if self.learning_rate != 1.0:
            figures["control/learning_rate"] = self.learning_rate
        if self.temperature is not None:
            figures["control/temperature"] = self.temperature
        return figures


class Controller(Resumable, Protocol):
    """Made of its settings and the stage's objective, anew in each stage."""

    def control(self) -> Control:
        """What holds in the next step."""

    def observe(self, figures: Mapping[str, float]) -> None:
        """Takes in a step's figures, by the names in docs/metrics.md."""


class AdaptiveKL:
    """The weight of the KL, moved by the relative error of the KL."""

    def __init__(self, own: settings.AdaptiveKL, objective: Objective):
        self.own, self.weight = own, objective.kl.weight

    def control(self) -> Control:
        """The weight so far."""
        return Control({"kl.weight": self.weight})

    def observe(self, figures: Mapping[str, float]) -> None:
        """beta <- beta (1 + gain clip(KL / target - 1)); a step without rollouts changes nothing."""
        if "policy/kl_ref" in figures:
            error = figures["policy/kl_ref"] / self.own.target - 1
            self.weight *= 1 + self.own.gain * min(max(error, -self.own.bound), self.own.bound)

    def state_dict(self) -> dict[str, float]:
        """The weight."""
        return {"weight": self.weight}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """The weight."""
        self.weight = state["weight"]


class AdaptiveEntropy:
    """The entropy bonus, which acts where the entropy is at most the target."""

    def __init__(self, own: settings.AdaptiveEntropy, objective: Objective):
        self.own, self.bonus, self.acts = own, objective.entropy, True

    def control(self) -> Control:
        """The bonus so far, or 0 above the target."""
        return Control({"entropy": self.bonus if self.acts else 0.0})

    def observe(self, figures: Mapping[str, float]) -> None:
        """Up by delta at or below the target, else down; a step without rollouts changes nothing."""
        if "policy/entropy" in figures:
            self.acts = figures["policy/entropy"] <= self.own.target
            moved = self.bonus + (self.own.delta if self.acts else -self.own.delta)
            self.bonus = min(max(moved, self.own.low), self.own.high)

    def state_dict(self) -> dict[str, Any]:
        """The bonus, and whether it acts."""
        return {"bonus": self.bonus, "acts": self.acts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The bonus, and whether it acts."""
        self.bonus, self.acts = state["bonus"], state["acts"]


class EntropyGate:
    """A number that is the objective's or 0, by where the entropy last left the range between two bounds."""

    def __init__(self, own: settings.EntropyGate, objective: Objective):
        self.own, self.value, self.closed = own, own.value(objective), False

    def control(self) -> Control:
        """The objective's number, or 0."""
        return Control({self.own.key: 0.0 if self.closed or self.value is None else self.value})

    def observe(self, figures: Mapping[str, float]) -> None:
        """Between the bounds, and in a step without rollouts, it stays as it is."""
        entropy = figures.get("policy/entropy")
        if entropy is not None and not self.own.low <= entropy <= self.own.high:
            self.closed = entropy > self.own.high

    def state_dict(self) -> dict[str, bool]:
        """Whether the number is 0."""
        return {"closed": self.closed}

    def load_state_dict(self, state: Mapping[str, bool]) -> None:
        """Whether the number is 0."""
        self.closed = state["closed"]


class _Counting:
    """A controller that follows from how many steps were observed."""

    step = 0

    def observe(self, figures: Mapping[str, float]) -> None:
        """One step more."""
        self.step += 1

    def state_dict(self) -> dict[str, int]:
        """The steps so far."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """The steps so far."""
        self.step = state["step"]


class Annealing(_Counting):
    """A number along a straight line."""

    def __init__(self, own: settings.Anneal, objective: Objective):
        self.own = own

    def control(self) -> Control:
        """start + (end - start) min(1, step / steps)."""
        share = min(1.0, self.step / self.own.steps)
        return Control({self.own.key: self.own.start + (self.own.end - self.own.start) * share})


class Drawn(_Counting):
    """A number that counts in some steps."""

    def __init__(self, own: settings.Chance, objective: Objective):
        self.own, self.value = own, own.value(objective)

    def control(self) -> Control:
        """The objective's number, or 0."""
        drawn = random.Random(f"{self.own.seed}/{self.step}").random() < self.own.probability
        return Control({self.own.key: self.value if drawn else 0.0})


class Switching(_Counting):
    """One of two streams in each step, by the norm of the supervised one's gradient."""

    def __init__(self, own: settings.Switch, objective: Objective):
        self.own = own
        self.names = (own.demonstrations, own.rollouts)
        self.weights = tuple(float(objective.streams[name].weight) for name in self.names)  # type: ignore[arg-type]
        self.first, self.last = 0.0, 0.0  # norms, of the warm-up's last step and of the latest supervised one

    @property
    def supervised(self) -> bool:
        """Whether the next step is."""
        if self.step < self.own.warmup:
            return True
        bar = self.last + self.own.gamma * self.first
        return random.Random(f"{self.own.seed}/{self.step}").random() * bar < self.last

    def control(self) -> Control:
        """One stream's weight is the objective's, the other's 0."""
        demo, rl = self.weights
        shares = (demo, 0.0) if self.supervised else (0.0, rl)
        return Control({f"streams.{name}.weight": share for name, share in zip(self.names, shares)})

    def observe(self, figures: Mapping[str, float]) -> None:
        """One step more; a supervised one has shown its gradient."""
        if self.supervised:
            self.last = figures.get("optim/grad_norm", self.last)
            if self.step == self.own.warmup - 1:
                self.first = self.last
        super().observe(figures)

    def state_dict(self) -> dict[str, Any]:
        """The steps so far, and the norms."""
        return {**super().state_dict(), "first": self.first, "last": self.last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The steps so far, and the norms."""
        super().load_state_dict(state)
        self.first, self.last = state["first"], state["last"]


class Controllers:
    """All controllers of one stage, and the other parts of its objective that remember."""

    def __init__(self, stage: StageConfig):
        self.stage, self.stateful = stage, Stateful(stage.objective)
        self.parts: dict[str, Controller] = {
            name: CONTROLLERS.get(own.kind).load()(own, stage.objective)
            for name, own in stage.objective.controllers.items()
        }

    def control(self) -> Control:
        """What all of them set together; factors of the learning rate multiply.

        Raises:
            ConfigError: two of them set one thing.
        """
        values: dict[str, float] = {}
        rate, temperature = 1.0, None
        for name, part in self.parts.items():
            own = part.control()
            twice = sorted(values.keys() & own.objective.keys())
            if twice or (temperature is not None and own.temperature is not None):
                raise ConfigError(f"controllers.{name} sets {', '.join(twice) or 'temperature'}, as another one does")
            values |= own.objective
            rate *= own.learning_rate
            temperature = own.temperature if own.temperature is not None else temperature
        return Control(values, rate, temperature)

    def applied(self, control: Control) -> StageConfig:
        """The stage as it is in the next step.

        Raises:
            ConfigError: a controller sets what is no key of the objective, or a value that does not fit there.
        """
        stage = self.stage
        if control.objective:
            stage = stage.model_copy(update={"objective": _changed(stage.objective, control.objective)})
        if control.temperature is not None:
            rollout = stage.rollout.model_copy(update={"temperature": control.temperature})
            stage = stage.model_copy(update={"rollout": rollout})
        return stage

    def observe(self, figures: Mapping[str, float]) -> None:
        """Shows every controller the step's figures."""
        for part in self.parts.values():
            part.observe(figures)

    def state_dict(self) -> dict[str, Mapping[str, Any]]:
        """Each one's state by its name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Puts every state back (`load_states`)."""
        load_states("controllers", self.parts, states)


def _changed(objective: Objective, values: Mapping[str, float]) -> Objective:
    """A checked copy with other values at some keys."""
    raw = objective.model_dump(mode="json")
    for key, value in values.items():
        *path, last = key.split(".")
        node = raw
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise ConfigError(f"controllers: '{key}' is no key of the objective")
        node[last] = value
    return validate(Objective, raw, place="objective, as controllers set it")
