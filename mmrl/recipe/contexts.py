"""What a recipe says of the context that answers are sampled under. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr, field_validator, model_validator

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.reading import validate
from mmrl.recipe.registry import Registry
from mmrl.recipe.rewards import RewardConfig


class ContextSettings(Settings):
    """Base of every context's settings.

    Attributes:
        adapter: `module:class` of the context, called with these settings.
        continues: it gives the units that answers begin with, which only policies of tokens continue.
    """

    adapter: ClassVar[str]
    continues: ClassVar[bool] = False

    name: str = Field(description="a name of `mmrl list context`, or module:name of a settings model")
    share: float = Field(1.0, gt=0.0, le=1.0, description="share of each group's answers that are sampled under it")

    on_fail: bool = Field(
        False, description="only where no answer of the group is right without it: the last ones are sampled once more"
    )

    def count(self, n: int) -> int:
        """How many of a group's n answers are sampled under it: at least one."""
        return max(1, round(self.share * n))

    def levels(self) -> list[ContextSettings]:
        """What is tried, under on_fail, one after the other until some answer is right."""
        return [self]


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
    part: float | list[float] = Field(
        1.0,
        description="share of the reference's words that is shown, from the first; with on_fail a list of rising "
        "shares, each tried where the one before left a group without a right answer",
    )
    corrected: bool = Field(
        False,
        description="ratios start from the probability under the hint, not from 1: pi(answer | question) over "
        "pi_old(answer | question, hint) (Guide)",
    )

    @field_validator("text")
    @classmethod
    def _names_the_reference(cls, text: str) -> str:
        if "{reference}" not in text:
            raise ValueError("the text has no {reference}, so it would show none")
        return text

    @model_validator(mode="after")
    def _shares(self) -> ReferenceSettings:
        if not self.parts or not all(0.0 < part <= 1.0 for part in self.parts):
            raise ValueError(f"part {self.part} is no share: each is above 0 and at most 1")
        if len(self.parts) > 1 and not self.on_fail:
            raise ValueError("several parts are tried one after the other where a group fails; set on_fail: true")
        if list(self.parts) != sorted(set(self.parts)):
            raise ValueError(f"part {list(self.parts)} does not rise")
        return self

    @property
    def parts(self) -> tuple[float, ...]:
        """The shares, in the order in which they are tried."""
        return tuple(self.part) if isinstance(self.part, list) else (self.part,)

    def levels(self) -> list[ContextSettings]:
        """See `ContextSettings.levels`."""
        return [self.model_copy(update={"part": part}) for part in self.parts]


class PrefixSettings(ContextSettings):
    """Answers continue the beginning of the row's demonstration (Prefix-RFT, arXiv 2507.01679, from a digest).

    Its length, as a share of the demonstration, is drawn between a lower bound, which falls over the stage, and `high`.
    """

    adapter: ClassVar[str] = "mmrl.rollouts.contexts.beginnings:DemonstrationPrefix"
    continues: ClassVar[bool] = True
    name: str = "prefix"
    high: float = Field(0.95, gt=0.0, le=1.0, description="longest share of the demonstration")
    low: float = Field(0.95, ge=0.0, le=1.0, description="shortest share at the stage's beginning")
    low_end: float = Field(0.05, ge=0.0, le=1.0, description="shortest share at its end, reached along a cosine")
    learned: float = Field(
        0.2,
        ge=0.0,
        le=1.0,
        description="share of the prefix that is learned with the answer's advantage: the units of highest entropy",
    )

    @model_validator(mode="after")
    def _ordered(self) -> PrefixSettings:
        if max(self.low, self.low_end) > self.high:
            raise ValueError(f"low {self.low:g} to {self.low_end:g} is not below high {self.high:g}")
        return self


class PrefillSettings(ContextSettings):
    """Answers continue a text of one's own, or of the row's, which is never learned: controlled wrong reasoning."""

    adapter: ClassVar[str] = "mmrl.rollouts.contexts.beginnings:Prefill"
    continues: ClassVar[bool] = True
    name: str = "prefill"
    text: str | None = Field(None, min_length=1, description="what every answer begins with")
    column: str | None = Field(None, description="the row's column with what answers to it begin with; empty: nothing")

    @model_validator(mode="after")
    def _one(self) -> PrefillSettings:
        if (self.text is None) == (self.column is None):
            raise ValueError("needs one of text and column")
        return self


class Template(Settings):
    """A form of a question, and what its answers are to look like."""

    text: str = Field(
        min_length=1, description="in place of the last question's text; {question} is that, and stands in it"
    )
    rewards: list[RewardConfig] = Field([], description="of this form alone, such as its format")

    @field_validator("text")
    @classmethod
    def _names_the_question(cls, text: str) -> str:
        if "{question}" not in text:
            raise ValueError("the text has no {question}, so it would ask nothing")
        return text


class TemplatesSettings(ContextSettings):
    """Each draw of a row is asked, answered, scored and demonstrated in a form drawn from a list."""

    adapter: ClassVar[str] = "mmrl.rollouts.contexts.templates:Templates"
    name: str = "templates"
    templates: list[Template] = Field(min_length=1, description="the forms, all as likely")
    weight: PositiveFloat = Field(0.5, lt=1.0, description="share of the reward that a form's own rewards are")

    @model_validator(mode="after")
    def _of_all(self) -> TemplatesSettings:
        if self.share != 1.0 or self.on_fail:
            raise ValueError("a template is that of all answers to a row; leave share and on_fail out")
        return self


class HintsSettings(ContextSettings):
    """The smallest set of hints under which some answer is right (the idea of KnowRL), where none is without hints.

    Sets are tried in turn, small ones first, each in the groups that the one before left without a right answer.
    """

    adapter: ClassVar[str] = "mmrl.rollouts.contexts.hints:Hints"
    name: str = "hints"
    on_fail: Literal[True] = Field(True, description="hints are for groups without a right answer alone")
    text: str = Field("Hints: {hints}", description="stands behind the last question; {hints} is replaced")
    column: str | None = Field(
        None,
        description="the row's column with its hints, a list of texts; null: the lines of its demonstration, or else "
        "its words",
    )
    most: PositiveInt = Field(2, description="hints in the largest set")
    tries: PositiveInt = Field(6, description="sets that are tried, in the order of their size")
    # Which set of a row it shows.
    _level: int = PrivateAttr(0)

    @field_validator("text")
    @classmethod
    def _names_the_hints(cls, text: str) -> str:
        if "{hints}" not in text:
            raise ValueError("the text has no {hints}, so it would show none")
        return text

    @property
    def level(self) -> int:
        """Which set of a row's hints is shown, from 0."""
        return self._level

    def levels(self) -> list[ContextSettings]:
        """See `ContextSettings.levels`."""
        made: list[ContextSettings] = []
        for level in range(self.tries):
            settings = self.model_copy()
            settings._level = level
            made.append(settings)
        return made


class ParaphrasesSettings(ContextSettings):
    """The answers of a group are dealt to paraphrases of its question, sampled and scored under these.

    With the reward `majority` an answer earns what agrees across them (the idea of PS-GRPO).
    """

    adapter: ClassVar[str] = "mmrl.rollouts.contexts.paraphrases:Paraphrases"
    name: str = "paraphrases"
    texts: list[str] = Field([], description="forms of every question; {question} is the row's own")
    column: str | None = Field(None, description="the row's column with a list of paraphrases, beside its own question")

    @model_validator(mode="after")
    def _one(self) -> ParaphrasesSettings:
        if bool(self.texts) == (self.column is not None):
            raise ValueError("needs one of texts and column")
        if any("{question}" not in text for text in self.texts):
            raise ValueError("a text has no {question}, so it would ask nothing")
        if self.share != 1.0 or self.on_fail:
            raise ValueError("paraphrases are those of all answers to a row; leave share and on_fail out")
        return self


class PictureArm(Settings):
    """What becomes of a row's pictures, and what is right then."""

    pictures: Literal["as_is", "none", "blank", "masked", "evidence"] = Field(
        description="none: left out, videos too; blank: grey; masked: a grey box at a place of chance; evidence: grey "
        "boxes where the row's column says"
    )
    answer: str | None = Field(
        None, min_length=1, description="what is right in place of the row's own answer, such as unknown"
    )


class CorruptedSettings(ContextSettings):
    """Each draw of a row is asked, answered, scored and demonstrated with what an arm makes of its pictures."""

    adapter: ClassVar[str] = "mmrl.rollouts.contexts.corrupted:Corrupted"
    name: str = "corrupted"
    arms: list[PictureArm] = Field(min_length=1, description="all as likely")
    column: str = Field("evidence", description="boxes [x1, y1, x2, y2] in pixels of the row's first picture")
    side: float = Field(0.4, gt=0.0, le=1.0, description="sides of a box of chance, as a share of the picture's")

    @model_validator(mode="after")
    def _of_all(self) -> CorruptedSettings:
        if self.share != 1.0 or self.on_fail:
            raise ValueError("an arm is that of all answers to a row; leave share and on_fail out")
        return self


CONTEXTS: Registry[type[ContextSettings]] = Registry(
    "context",
    {
        "instruction": InstructionSettings,
        "reference": ReferenceSettings,
        "prefix": PrefixSettings,
        "prefill": PrefillSettings,
        "templates": TemplatesSettings,
        "hints": HintsSettings,
        "paraphrases": ParaphrasesSettings,
        "corrupted": CorruptedSettings,
    },
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
