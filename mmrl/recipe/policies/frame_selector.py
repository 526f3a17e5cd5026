"""Settings of `frame_selector`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from mmrl.recipe.base import Settings
from mmrl.recipe.policies.qwen_vl import QwenVLSettings
from mmrl.recipe.policy import LoadedConfig, Sighted, Templated


class FrameSelectorParams(Settings):
    """`policy.params` of `frame_selector`."""

    moments: PositiveInt = Field(8, description="moments shown: 2 frames each, one temporal patch of a Qwen-VL")
    width: PositiveInt = Field(64, description="units of the selector's hidden layer")
    choose: Literal["learned", "uniform"] = Field("learned", description="uniform: evenly spaced, the control")


class FrameSelectorSettings(Sighted, Templated, LoadedConfig):
    """A selector that trains, before a Qwen-VL that never does."""

    # Wider than the base's, which a frozen model may be: nothing writes it.
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"  # type: ignore[assignment]
    params: FrameSelectorParams = FrameSelectorParams()

    def reader(self) -> QwenVLSettings:
        """Settings of the Qwen-VL that answers; whoever loads it freezes it."""
        shared = LoadedConfig.model_fields.keys() | Sighted.model_fields.keys() | Templated.model_fields.keys()
        values = {name: getattr(self, name) for name in shared - {"type"}}
        # It samples and never trains, so that its prompts are packed with nothing.
        return QwenVLSettings(**values, packing="row")
