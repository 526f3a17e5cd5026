"""What a recipe says of its simulators: the options of each, as `robotics.settings` has them. Imports no torch.

A simulator from elsewhere (`module:class`, or an installed package's) brings its options in `SETTINGS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, create_model, model_validator

import robotics
from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.choosing import Chosen
from mmrl.recipe.registry import Registry
from robotics.options import Option
from robotics.registry import SIMULATORS as OWN
from robotics.settings import SimulatorSettings

SIMULATORS: Registry[Any] = Registry("simulator", OWN)
KINDS: dict[type, Any] = {bool: StrictBool, int: StrictInt, float: StrictFloat | StrictInt, str: StrictStr}


class SimulatorConfig(Settings):
    """Base of every simulator's settings in a recipe."""

    type: str = Field(description="a name of `mmrl list simulator`, or module:class of a robotics.VectorEnv")

    @property
    def source(self) -> SimulatorSettings:
        """What the simulator itself says of its settings."""
        return robotics.settings_of(class_of(self.type))

    def option(self, name: str) -> Option | None:
        """The simulator's option of a name, where it has one."""
        return self.source.options.get(name)

    def value(self, name: str) -> Any:
        """What is set of an option; None where the simulator has none of that name."""
        return getattr(self, name) if name in type(self).model_fields else None

    @model_validator(mode="after")
    def _agreeing(self) -> SimulatorConfig:
        self.source.check(self.model_dump(exclude={"type"}))
        return self

    def as_given(self) -> dict[str, Any]:
        """The mapping that `robotics.make` takes."""
        return {**self.model_dump(), "type": class_of(self.type)}


def class_of(name: str) -> str:
    """The name of a simulator as `robotics` knows it: one of its own, or `module:class`."""
    if name in OWN or ":" in name:
        return name
    return next(line.source for line in SIMULATORS.listed() if line.name == name)


def simulator_model(name: str) -> type[SimulatorConfig]:
    """The settings model of a simulator. Raises ConfigError with the nearest spelling."""
    if name not in OWN:
        # Also makes the working folder importable.
        SIMULATORS.get(name)
    try:
        return _model(name, robotics.settings_of(class_of(name)))
    except ValueError as error:
        raise ConfigError(str(error)) from None


@cache
def _model(name: str, settings: SimulatorSettings) -> type[SimulatorConfig]:
    fields: Mapping[str, Any] = {
        key: (annotation_of(option), option.default) for key, option in settings.options.items()
    }
    return create_model(
        f"{name.title()}Config",
        __base__=SimulatorConfig,
        __doc__=f"Options of `{name}`; docs/simulators.md says what they do.",
        **fields,
    )


def annotation_of(option: Option) -> Any:
    """The type of an option's value, as `robotics.options` reads it."""
    kind: Any = Literal[option.choices] if option.choices else KINDS[option.kind]
    if option.low is not None or option.high is not None:
        kind = Annotated[kind, Field(ge=option.low, le=option.high)]
    if option.many:
        kind = Annotated[tuple[kind, ...], AfterValidator(partial(_check_items, option.min_items))]
    return kind | None if option.optional else kind


def _check_items(least: int, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(values) < least:
        raise ValueError(f"{list(values)} is too short; at least {least} is needed")
    if len(set(values)) < len(values):
        raise ValueError(f"{list(values)} repeats a value; each may stand there once")
    return values


AnySimulator = Annotated[SimulatorConfig, Chosen("type", simulator_model, SIMULATORS.names, "Type")]
