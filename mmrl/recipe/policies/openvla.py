"""Settings of `openvla` and `openvla_oft`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PositiveInt

from mmrl.recipe.base import Settings
from mmrl.recipe.policy import Checkpointed, Packed, TrainedConfig

Gripper = Literal["as_is", "zero_one_open"]


class OpenVLAParams(Settings):
    """`policy.params` of OpenVLA. What a checkpoint was saved with holds where the recipe says nothing."""

    statistics: str | None = Field(None, description="dataset of norm_stats that actions follow; None: the only one")
    cameras: list[str] | None = Field(None, description="the simulator's cameras that the policy sees, in its order")
    center_crop: float | None = Field(
        None, gt=0.0, le=1.0, description="area kept of each image; 0.9 after training with random crops"
    )
    gripper: Gripper = Field(
        "as_is", description="zero_one_open: demonstrations have 0 closed, 1 open, the simulator 1 close, -1 open"
    )


class OFTParams(OpenVLAParams):
    """`policy.params` of OpenVLA-OFT."""

    chunk: PositiveInt | None = Field(None, description="actions predicted at once: 8 in the LIBERO checkpoints")
    state_dim: PositiveInt | None = Field(None, description="size of the robot's state; None: the state is not read")
    state_projector: Literal["checkpoint", "new"] = Field(
        "checkpoint", description="new: random weights for the state's projector where the checkpoint has none"
    )
    stop_token: bool = Field(True, description="an end token follows the slots, as in OFT's training; RLinf's has none")


def _given(params: OpenVLAParams) -> dict[str, Any]:
    # A default that is written out would go before what the checkpoint was saved with.
    return params.model_dump(mode="json", exclude_unset=True)


class OpenVLASettings(Checkpointed, Packed, TrainedConfig):
    """OpenVLA, whose pictures have its checkpoint's size and whose actions its checkpoint's bins."""

    params: Annotated[OpenVLAParams, PlainSerializer(_given)] = OpenVLAParams()


class OFTSettings(Checkpointed, TrainedConfig):
    """OpenVLA-OFT: all tokens of a chunk attend to each other in one row, which nothing else shares."""

    params: Annotated[OFTParams, PlainSerializer(_given)] = OFTParams()


AnyOpenVLA = OpenVLASettings | OFTSettings
