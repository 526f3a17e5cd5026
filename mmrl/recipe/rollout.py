"""How a recipe samples."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from mmrl.recipe.base import Settings


class SamplingConfig(Settings):
    """How completions are sampled."""

    temperature: float = Field(1.0, ge=0.0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    top_k: int = Field(0, ge=0, description="0 keeps every token")
    min_p: float = Field(0.0, ge=0.0, lt=1.0)
    max_new_tokens: PositiveInt = 64
    stop: list[str] = Field([], description="text that ends a completion, besides the end-of-turn token")


class RolloutConfig(SamplingConfig):
    """Engine and group size."""

    engine: str = Field("hf", description="a name in mmrl.engines")
    n: PositiveInt = Field(8, description="trajectories a group")
    batch_size: PositiveInt = Field(256, description="sequences decoded at once")
    action_chunk: PositiveInt = Field(1, description="actions a decision, for episodes")
    pipeline: PositiveInt = Field(
        1, description="groups of worlds that take turns: one steps while the policy infers for another; 1: no turns"
    )


class GreedyConfig(SamplingConfig):
    """Sampling settings whose default is greedy."""

    temperature: float = Field(0.0, ge=0.0, description="0 is greedy")
