"""What the settings of every engine have in common. Imports no torch."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveInt

from mmrl.contracts.engine import Sampling
from mmrl.recipe.base import Settings

# Nats that rounding makes between a token's log-probs of engine and trainer, by what forward passes compute in.
ROUNDING = {"float32": 1e-3, "bfloat16": 0.5}


class EngineSettings(Settings):
    """Base of every engine's settings.

    Attributes:
        adapter: `module:class` of the engine, called with these settings.
        samples: the policies that it can sample: `tokens`, or the name of the engine that a policy has of its own.
        families: of these the only ones (`policy.type`); None: all.
        serves: the `policy.type` of every model that it samples, which then needs not be named; None: the checkpoint
            says.
    """

    adapter: ClassVar[str]
    samples: ClassVar[frozenset[str]]
    families: ClassVar[frozenset[str] | None] = None
    serves: ClassVar[str | None] = None

    name: str = Field(description="a name in mmrl.recipe.engines, or module:name of a settings model")

    def rows(self, requested: int) -> int:
        """How many sequences of `requested` it holds in this process's memory at once; 0: it holds them elsewhere."""
        return 0

    def refuse_sampling(self, sampling: Sampling, place: str) -> None:
        """Raises ConfigError where rollouts that are learnt from cannot be sampled so.

        Args:
            place: of the sampling settings in the recipe.
        """

    def check_installed(self) -> None:
        """Raises UserError where what it needs is not installed, or not in a release that it knows."""


class BatchedSettings(EngineSettings):
    """Settings of the engines that sample in this process."""

    batch_size: PositiveInt = Field(256, description="sequences sampled at once; lower it when memory runs out")

    def rows(self, requested: int) -> int:
        """See `EngineSettings.rows`."""
        return min(self.batch_size, requested)
