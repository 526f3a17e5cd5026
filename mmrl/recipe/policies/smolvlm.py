"""Settings of `smolvlm`."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from mmrl.recipe.base import Settings
from mmrl.recipe.policy import Checkpointed, Packed, Remembering, Templated, TrainedConfig


class SmolVLMParams(Settings):
    """`policy.params` of `smolvlm`. None leaves it as the checkpoint has it."""

    longest_edge: PositiveInt | None = Field(
        None, le=4096, description="pixels of an image's longer side before it is cut into tiles"
    )
    split: bool | None = Field(None, description="whether an image is cut into tiles, seen beside the whole")


class SmolVLMSettings(Remembering, Templated, Checkpointed, Packed, TrainedConfig):
    """A SmolVLM, which answers in text and sees pictures as tiles of one size; it reads no videos."""

    params: SmolVLMParams = SmolVLMParams()
