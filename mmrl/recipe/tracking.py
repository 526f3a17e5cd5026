"""Where the figures of a run go."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from mmrl.recipe.base import Settings


class TrackingConfig(Settings):
    """Where figures go besides metrics.jsonl."""

    console: Literal["auto", "live", "plain", "none"] = "auto"
    tensorboard: bool = True
    wandb: bool = False
    trackio: bool = False
    project: str = "mmrl"
    rollouts_every: PositiveInt = Field(1, description="steps between entries of rollouts/")
    rollouts_groups: int = Field(2, ge=0, description="groups written each time")
