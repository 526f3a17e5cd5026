"""`policy.params` of the frame selector."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from mmrl.recipe.base import Settings


class FrameSelectorParams(Settings):
    """Settings of `frame_selector`."""

    moments: PositiveInt = Field(8, description="moments shown: 2 frames each, one temporal patch of a Qwen-VL")
    width: PositiveInt = Field(64, description="units of the selector's hidden layer")
    choose: Literal["learned", "uniform"] = Field("learned", description="uniform: evenly spaced, the control")
