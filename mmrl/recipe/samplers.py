"""What a recipe says of its sampler. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.reading import validate
from mmrl.recipe.registry import Registry


class SamplerSettings(Settings):
    """Base of every sampler's settings.

    Attributes:
        adapter: `module:class` of the sampler, called with the datasets' pools, the seed and these settings.
        reads_prompts: it draws by what the policy makes of prompts.
    """

    adapter: ClassVar[str]
    reads_prompts: ClassVar[bool] = False

    name: str = Field(description="a name of `mmrl list sampler`, or module:name of a settings model")


class WeightedSettings(SamplerSettings):
    """Datasets by weight, and each without replacement, in a new order each epoch."""

    adapter: ClassVar[str] = "mmrl.data.samplers.weighted:Weighted"
    name: str = "weighted"


class UniformSettings(SamplerSettings):
    """Every row of all datasets alike, without replacement, in a new order each epoch: the control of the others."""

    adapter: ClassVar[str] = "mmrl.data.samplers.ordered:Uniform"
    name: str = "uniform"


class SequentialSettings(SamplerSettings):
    """Rows in the order of the data, over and over."""

    adapter: ClassVar[str] = "mmrl.data.samplers.ordered:Sequential"
    name: str = "sequential"


class OrderedSettings(SamplerSettings):
    """Rows in the order of a column's numbers, such as the pass rate of a profile: easy to hard, over and over."""

    adapter: ClassVar[str] = "mmrl.data.samplers.ordered:Ordered"
    name: str = "ordered"
    column: str = Field(description="a column of numbers; `pass_rate` is that of data which a policy made")
    descending: bool = Field(True, description="the highest number first: of pass rates, the easiest row")


class StagedSettings(SamplerSettings):
    """Rows by the value of a column, one value after the other: a curriculum of stages."""

    adapter: ClassVar[str] = "mmrl.data.samplers.ordered:Staged"
    name: str = "staged"
    column: str = Field("dataset", description="a column of the rows, `task`, or `dataset`")
    order: list[str] = Field([], description="its values, first to last; empty: as they first stand in the data")
    draws: PositiveInt = Field(description="draws from each value before the next one begins; the last one stays")
    mixed: bool = Field(False, description="values that have begun stay among the draws")


class DifficultySettings(SamplerSettings):
    """Rows whose pass rate is expected near a target; what is not known yet is tried."""

    adapter: ClassVar[str] = "mmrl.data.samplers.learned:Difficulty"
    name: str = "difficulty"
    target: float = Field(0.5, ge=0.0, le=1.0, description="pass rate that is drawn most")
    width: PositiveFloat = Field(0.2, description="standard deviation of the bell over pass rates that weighs rows")
    floor: float = Field(0.02, gt=0.0, le=1.0, description="least weight of a row, beside 1 at the target")
    decay: float = Field(0.5, ge=0.0, lt=1.0, description="weight of the history beside the newest pass rate")
    column: str | None = Field(None, description="a column with pass rates to begin with; null: the target itself")


class FilterSettings(SamplerSettings):
    """Rows without replacement, but those that were solved or hopeless rest for a while."""

    adapter: ClassVar[str] = "mmrl.data.samplers.learned:Filter"
    name: str = "filter"
    low: float | None = Field(0.0, ge=0.0, le=1.0, description="hopeless at most; null: they never rest")
    high: float | None = Field(1.0, ge=0.0, le=1.0, description="solved at least; null: they never rest")
    rest: PositiveInt = Field(description="draws for which a row rests")

    @model_validator(mode="after")
    def _leaves_some(self) -> FilterSettings:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}, so every row would rest")
        return self


class PredictedSettings(SamplerSettings):
    """Base of samplers that expect a pass rate of prompts by the policy's hidden state of them."""

    reads_prompts: ClassVar[bool] = True

    target: float = Field(0.5, ge=0.0, le=1.0, description="pass rate that is drawn most")


class PclSettings(PredictedSettings):
    """Rows whose pass rate a value learned on the policy's own hidden state expects near a target (PCL)."""

    adapter: ClassVar[str] = "mmrl.data.samplers.pcl:Pcl"
    name: str = "pcl"
    candidates: PositiveInt = Field(128, description="rows that are looked at before some of them are drawn")
    keep: float = Field(0.25, gt=0.0, le=1.0, description="share of the candidates that may be drawn, the nearest")
    explore: float = Field(0.05, ge=0.0, le=1.0, description="share of draws by chance alone; 0 in the paper")
    decay: float = Field(0.9, ge=0.0, le=1.0, description="what each step leaves of the weight of those before it")
    ridge: PositiveFloat = Field(10.0, description="rows that a value of no slope counts as")
    width: PositiveInt = Field(64, description="dimensions that wider hidden states are projected to at random")


class DotsSettings(PredictedSettings):
    """Rows whose pass rate is expected near a target by that of similar prompts answered last (DOTS)."""

    adapter: ClassVar[str] = "mmrl.data.samplers.dots:Dots"
    name: str = "dots"
    candidates: PositiveInt = Field(512, description="rows whose pass rate is predicted")
    references: PositiveInt = Field(256, ge=2, description="rows answered last that predictions are made from")
    every: PositiveInt = Field(2, description="steps after which rows are predicted anew")
    temperature: PositiveFloat = Field(1e-3, description="of the softmax over -|expected pass rate - target|")
    explore: float = Field(0.25, ge=0.0, le=1.0, description="share of draws by chance alone, as references")


class CategorySettings(SamplerSettings):
    """Base of samplers that choose a category first."""

    column: str = Field("dataset", description="what makes a category: a column of the rows, `task`, or `dataset`")


class BanditSettings(CategorySettings):
    """Base of the bandits over categories."""

    temperature: PositiveFloat = Field(0.5, description="of the softmax over categories")
    normalise: bool = Field(True, description="advantages are divided by the standard deviation of their group")


class SecSettings(BanditSettings):
    """A bandit over categories by mean absolute advantage, TD(0) (SEC, arXiv 2505.14970)."""

    adapter: ClassVar[str] = "mmrl.data.samplers.bandits:Sec"
    name: str = "sec"
    rate: float = Field(0.5, gt=0.0, le=1.0, description="weight of the newest step beside the value so far")


class DumpSettings(BanditSettings):
    """Upper confidence bounds over categories by mean absolute advantage (DUMP, arXiv 2504.09710)."""

    adapter: ClassVar[str] = "mmrl.data.samplers.bandits:Dump"
    name: str = "dump"
    window: PositiveInt = Field(300, description="newest advantages of a category that its value is the mean of")


class RatioSettings(CategorySettings):
    """Categories in fixed ratios of the rollouts that were completed, not of those that were asked for."""

    adapter: ClassVar[str] = "mmrl.data.samplers.bandits:Ratio"
    name: str = "ratio"
    ratios: dict[str, PositiveFloat] = Field(
        {}, description="category to its share, relative to the others; default: 1"
    )


SAMPLERS: Registry[type[SamplerSettings]] = Registry(
    "sampler",
    {
        "weighted": WeightedSettings,
        "uniform": UniformSettings,
        "sequential": SequentialSettings,
        "ordered": OrderedSettings,
        "staged": StagedSettings,
        "difficulty": DifficultySettings,
        "filter": FilterSettings,
        "pcl": PclSettings,
        "dots": DotsSettings,
        "sec": SecSettings,
        "dump": DumpSettings,
        "ratio": RatioSettings,
    },
)


def sampler_settings(raw: Any) -> SamplerSettings:
    """The checked settings of `data.sampler`. Raises ConfigError on an unknown sampler or key."""
    if isinstance(raw, SamplerSettings):
        return raw
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise ConfigError(f"data.sampler: a mapping with a name is needed, such as {{name: weighted}}, not {raw!r}")
    return validate(SAMPLERS.get(raw["name"], place="data.sampler.name"), raw, place="data.sampler")
