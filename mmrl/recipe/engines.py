"""What a recipe says of its engine. Imports no torch: a recipe is read and refused before an engine is made."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveInt

from mmrl.recipe.base import Settings


class EngineSettings(Settings):
    """Base of every engine's settings.

    Attributes:
        adapter: `module:class` of the engine, called with these settings.
        samples: the policies that it can sample: `tokens`, or the name of the engine that a policy has of its own.
    """

    adapter: ClassVar[str]
    samples: ClassVar[frozenset[str]]

    name: str = Field(description="a name in mmrl.recipe.engines, or module:name of a settings model")


class BatchedSettings(EngineSettings):
    """Settings of the engines that sample in this process."""

    batch_size: PositiveInt = Field(256, description="sequences sampled at once; lower it when memory runs out")


class HFSettings(BatchedSettings):
    """The policy's own forward pass, token by token."""

    adapter: ClassVar[str] = "mmrl.engines.hf:HFEngine"
    samples: ClassVar[frozenset[str]] = frozenset({"tokens"})
    name: str = "hf"


class FlowSettings(BatchedSettings):
    """Chunks of actions, denoised."""

    adapter: ClassVar[str] = "mmrl.engines.flow:FlowEngine"
    samples: ClassVar[frozenset[str]] = frozenset({"flow"})
    name: str = "flow"


class FrameSettings(BatchedSettings):
    """Moments of a video, and the answers of a frozen reader to them; `batch_size` is that of the answers."""

    adapter: ClassVar[str] = "mmrl.engines.frames:FrameEngine"
    samples: ClassVar[frozenset[str]] = frozenset({"frames"})
    name: str = "frames"


# Name of an engine -> `module:class` of its settings.
ENGINES = {
    "hf": "mmrl.recipe.engines:HFSettings",
    "flow": "mmrl.recipe.engines:FlowSettings",
    "frames": "mmrl.recipe.engines:FrameSettings",
}
