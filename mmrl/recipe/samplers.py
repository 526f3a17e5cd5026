"""What a recipe says of its sampler. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.reading import validate
from mmrl.recipe.registry import Registry


class SamplerSettings(Settings):
    """Base of every sampler's settings.

    Attributes:
        adapter: `module:class` of the sampler, called with the datasets' pools, the seed and these settings.
    """

    adapter: ClassVar[str]

    name: str = Field(description="a name of `mmrl list sampler`, or module:name of a settings model")


class WeightedSettings(SamplerSettings):
    """Datasets by weight, and each without replacement, in a new order each epoch."""

    adapter: ClassVar[str] = "mmrl.data.samplers.weighted:Weighted"
    name: str = "weighted"


SAMPLERS: Registry[type[SamplerSettings]] = Registry("sampler", {"weighted": WeightedSettings})


def sampler_settings(raw: Any) -> SamplerSettings:
    """The checked settings of `data.sampler`. Raises ConfigError on an unknown sampler or key."""
    if isinstance(raw, SamplerSettings):
        return raw
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise ConfigError(f"data.sampler: a mapping with a name is needed, such as {{name: weighted}}, not {raw!r}")
    return validate(SAMPLERS.get(raw["name"], place="data.sampler.name"), raw, place="data.sampler")
