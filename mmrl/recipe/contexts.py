"""What a recipe says of the context that answers are sampled under. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.reading import validate
from mmrl.recipe.registry import Registry


class ContextSettings(Settings):
    """Base of every context's settings.

    Attributes:
        adapter: `module:class` of the context, called with these settings.
    """

    adapter: ClassVar[str]

    name: str = Field(description="a name of `mmrl list context`, or module:name of a settings model")
    share: float = Field(1.0, gt=0.0, le=1.0, description="share of each group's answers that are sampled under it")

    on_fail: bool = Field(
        False, description="only where no answer of the group is right without it: the last ones are sampled once more"
    )

    def count(self, n: int) -> int:
        """How many of a group's n answers are sampled under it: at least one."""
        return max(1, round(self.share * n))


class InstructionSettings(ContextSettings):
    """An instruction that the engine sees and the trainer does not: context distillation (arXiv 2209.15189)."""

    adapter: ClassVar[str] = "mmrl.rollouts.contexts.instruction:Instruction"
    name: str = "instruction"
    text: str = Field(min_length=1, description="stands behind the last question while answers are sampled")


class ReferenceSettings(ContextSettings):
    """The row's demonstration, or the beginning of it, behind the question while answers are sampled: a hint."""

    adapter: ClassVar[str] = "mmrl.rollouts.contexts.reference:Reference"
    name: str = "reference"
    text: str = Field("Reference: {reference}", description="stands behind the last question; {reference} is replaced")
    part: float = Field(1.0, gt=0.0, le=1.0, description="share of the reference's words that is shown, from the first")

    @field_validator("text")
    @classmethod
    def _names_the_reference(cls, text: str) -> str:
        if "{reference}" not in text:
            raise ValueError("the text has no {reference}, so it would show none")
        return text


CONTEXTS: Registry[type[ContextSettings]] = Registry(
    "context", {"instruction": InstructionSettings, "reference": ReferenceSettings}
)


def context_settings(raw: Any) -> ContextSettings | None:
    """The checked settings of `rollout.context`. Raises ConfigError on an unknown context or key."""
    if raw is None or isinstance(raw, ContextSettings):
        return raw
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise ConfigError(
            f"rollout.context: a mapping with a name is needed, such as {{name: instruction}}, not {raw!r}"
        )
    return validate(CONTEXTS.get(raw["name"], place="rollout.context.name"), raw, place="rollout.context")
