"""The rewards of a recipe."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mmrl.recipe.base import Settings


class RewardConfig(Settings):
    """One part of the reward: a name in vision_rewards, or the user's `module:function`."""

    name: str = "route"
    weight: float = Field(1.0, ge=0.0, description="0 only measures")
    params: dict[str, Any] = {}
