"""The rewards of a recipe."""

from __future__ import annotations

from typing import Any

from pydantic import Field

import vision_rewards.registry
from mmrl.recipe.base import Settings
from mmrl.recipe.registry import Registry

# What stands behind a name is a class of vision_rewards, or a user's function of (completion, sample).
REWARDS: Registry[Any] = Registry(
    "reward", {name: f"vision_rewards.rewards.{place}" for name, place in vision_rewards.registry.REWARDS.items()}
)


class RewardConfig(Settings):
    """One part of the reward."""

    name: str = Field("route", description="a name of `mmrl list reward`, or module:name of a function or reward class")
    weight: float = Field(1.0, ge=0.0, description="0 only measures")
    params: dict[str, Any] = Field({}, description="of the reward, or further keyword arguments of the function")
