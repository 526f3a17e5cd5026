"""Settings of `qwen_vl`."""

from __future__ import annotations

from pydantic import Field

from mmrl.recipe.policy import Binned, Checkpointed, Packed, Remembering, Sighted, Templated, TrainedConfig


class QwenVLSettings(Binned, Remembering, Sighted, Templated, Checkpointed, Packed, TrainedConfig):
    """A Qwen-VL, which answers in text and acts with the tokens that stand for its bins."""

    type: str = Field("qwen_vl", description="adapter: a name in mmrl.recipe.policies.registry")
