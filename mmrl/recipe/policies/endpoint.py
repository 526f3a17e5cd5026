"""Settings of `endpoint`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from mmrl.recipe.base import Settings
from mmrl.recipe.policy import PolicyConfig, Sighted


class EndpointParams(Settings):
    """`policy.params` of `endpoint`: how pictures and frames are sent, and how the model writes boxes."""

    picture: Literal["png", "jpeg"] = Field("png", description="how each is encoded; jpeg loses a little, at 95 of 100")
    factor: PositiveInt = Field(
        28, description="sides of resized pictures and of frames are multiples of it: the model's patch x merge size"
    )
    frame_factor: PositiveInt = Field(1, description="frames of a video are a multiple of it")
    times: bool = Field(False, description="write its second before each frame of a video")
    coordinates: Literal["norm1000", "resized_pixel"] | None = Field(
        None, description="how the model writes boxes; data with boxes need it"
    )


class EndpointPolicySettings(Sighted, PolicyConfig):
    """A model behind an OpenAI-compatible server, which is asked and never trained; `path` is its name there."""

    type: str = Field("endpoint", description="adapter: a name in mmrl.recipe.policies.registry")
    params: EndpointParams = EndpointParams()

    @property
    def dtype(self) -> str:
        """What it computes in is the server's own."""
        return "served"

    @property
    def device(self) -> str:
        """Of this side of it."""
        return "cpu"

    @property
    def attention(self) -> str:
        """The server's own."""
        return "served"
