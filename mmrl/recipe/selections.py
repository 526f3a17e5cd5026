"""What a recipe says of the answers that it keeps: rules, applied in turn. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.reading import validate
from mmrl.recipe.registry import Registry


class SelectionSettings(Settings):
    """Base of every rule's settings.

    Attributes:
        adapter: `module:function` of the rule (`mmrl.contracts.generated.Selection`).
        of_texts: it compares what answers say, which episodes do not.
    """

    adapter: ClassVar[str]
    of_texts: ClassVar[bool] = False

    name: str = Field(description="a name of `mmrl list selection`, or module:name of a settings model or function")


class RightSettings(SelectionSettings):
    """Answers that are right."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:right"
    name: str = "right"
    at: float = Field(1.0, gt=0.0, le=1.0, description="least accuracy; the reward where no accuracy is measured")


class WrongSettings(SelectionSettings):
    """Answers that are not right."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:wrong"
    name: str = "wrong"
    at: float = Field(1.0, gt=0.0, le=1.0, description="accuracy from which an answer is right")


class BestSettings(SelectionSettings):
    """The answers of highest reward of each row; equal ones by their order."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:best"
    name: str = "best"
    k: PositiveInt = Field(1, description="answers per row")


class WorstSettings(SelectionSettings):
    """The answers of lowest reward of each row; equal ones by their order."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:worst"
    name: str = "worst"
    k: PositiveInt = Field(1, description="answers per row")


class PassRateSettings(SelectionSettings):
    """Rows whose share of right answers lies between bounds, both included."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:pass_rate"
    name: str = "pass_rate"
    low: float = Field(0.0, ge=0.0, le=1.0)
    high: float = Field(1.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _spans(self) -> PassRateSettings:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}, so no row could stay")
        return self


class InconsistentSettings(SelectionSettings):
    """Rows that have right answers and wrong ones."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:inconsistent"
    name: str = "inconsistent"


class HardSettings(SelectionSettings):
    """The rows of the lowest pass rates, and among equal ones of the lowest mean rewards."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:hard"
    name: str = "hard"
    k: PositiveInt | None = Field(None, description="rows; or give share")
    share: float | None = Field(None, gt=0.0, le=1.0, description="of the rows that are left")

    @model_validator(mode="after")
    def _one_of_both(self) -> HardSettings:
        if (self.k is None) == (self.share is None):
            raise ValueError(f"'{self.name}' needs k or share, one of the two")
        return self


class TopSettings(HardSettings):
    """The answers of highest reward of all rows together."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:top"
    name: str = "top"


class ShortestSettings(SelectionSettings):
    """The shortest right answers of each row."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:shortest_right"
    name: str = "shortest_right"
    k: PositiveInt = Field(1, description="answers per row")


class LongestSettings(SelectionSettings):
    """The longest right answers of each row."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:longest_right"
    name: str = "longest_right"
    k: PositiveInt = Field(1, description="answers per row")


class MajoritySettings(SelectionSettings):
    """Answers that say what most answers to their row say, where these are enough."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:majority"
    of_texts: ClassVar[bool] = True
    name: str = "majority"
    agreement: float = Field(0.0, ge=0.0, le=1.0, description="least share of a row's answers that say it")


class DistinctSettings(SelectionSettings):
    """The first of equal texts of each row."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:distinct"
    of_texts: ClassVar[bool] = True
    name: str = "distinct"


class LengthSettings(SelectionSettings):
    """Answers of so many units that no limit cut."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:length"
    name: str = "length"
    low: int = Field(0, ge=0)
    high: PositiveInt | None = None
    truncated: bool = Field(False, description="keep those that a limit cut, too")


class ContrastSettings(SelectionSettings):
    """Pairs of answers of each row, a better one and a worse one; rows without a pair go.

    `accuracy`: the right answer of highest reward against the wrong one of highest reward. `form`: two right answers
    that say the same, the one of highest reward against the one of lowest, as SPECS' pairs. `reward`: the highest
    against the lowest.
    """

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:contrast"
    of_texts: ClassVar[bool] = True
    name: str = "contrast"
    by: Literal["accuracy", "form", "reward"] = "accuracy"
    margin: float = Field(0.0, ge=0.0, description="least difference of the two rewards; equal ones are no pair")


class PerSettings(SelectionSettings):
    """At most so many answers of each value of a column, drawn by chance: a balanced set."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:per"
    name: str = "per"
    column: str = Field("task", description="a column of the rows")
    k: PositiveInt
    seed: int = 0


class FunctionSettings(SelectionSettings):
    """A function of one's own: `module:name`, called with the rows and its params."""

    adapter: ClassVar[str] = "mmrl.rollouts.selecting:own"
    params: dict[str, Any] = {}


SELECTIONS: Registry[Any] = Registry(
    "selection",
    {
        model.model_fields["name"].default: model
        for model in (
            *(RightSettings, WrongSettings, BestSettings, WorstSettings, PassRateSettings, InconsistentSettings),
            *(HardSettings, TopSettings, ShortestSettings, LongestSettings, MajoritySettings, DistinctSettings),
            *(LengthSettings, ContrastSettings, PerSettings),
        )
    },
)


def selection_settings(raw: Any) -> SelectionSettings:
    """The checked settings of one rule: a mapping with a name, or the name alone. Raises ConfigError."""
    if isinstance(raw, SelectionSettings):
        return raw
    raw = {"name": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise ConfigError(
            f"select: a rule's name, or a mapping with it, is needed, such as {{name: right}}, not {raw!r}"
        )
    model = SELECTIONS.get(raw["name"], place="select.name")
    if not (isinstance(model, type) and issubclass(model, SelectionSettings)):
        if not callable(model):
            raise ConfigError(f"select.name: '{raw['name']}' is no function and no settings model of a rule")
        model = FunctionSettings
    return validate(model, raw, place=f"select.{raw['name']}")
