"""How a recipe samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt, SerializeAsAny, field_validator, model_validator

from mmrl.contracts.engine import Sampling
from mmrl.recipe.base import Settings
from mmrl.recipe.contexts import ContextSettings, context_settings


class DecisionSampling(Settings):
    """How the units of a decision are drawn."""

    temperature: float = Field(1.0, ge=0.0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    top_k: int = Field(0, ge=0, description="0 keeps every token")
    min_p: float = Field(0.0, ge=0.0, lt=1.0)


class SamplingConfig(DecisionSampling):
    """How completions are sampled."""

    max_new_tokens: PositiveInt = 64
    stop: list[str] = Field([], description="text that ends a completion, besides the end-of-turn token")


def of_actions(sampling: Sampling, units: int) -> SamplingConfig:
    """The settings for decisions of `units` units, which no text ends."""
    return SamplingConfig(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        max_new_tokens=units,
    )


class Grouped(Settings):
    """Groups of trajectories from the same start."""

    n: PositiveInt = Field(8, description="trajectories per group")


class Chunked(Settings):
    """Decisions of several actions."""

    action_chunk: PositiveInt = Field(1, description="actions per decision, for episodes")


class Played(Chunked):
    """Episodes that are played in worlds of a simulator."""

    pipeline: PositiveInt = Field(
        1, description="groups of worlds that take turns: one steps while the policy infers for another; 1: no turns"
    )


class Pool(Settings):
    """More answers to a prompt than are learned from, sampled until there is enough signal.

    In rounds of `round` answers, as Reinforce-Ada (arXiv 2510.04996, from a digest) does; in one, as oversampling does.
    """

    size: PositiveInt = Field(description="most answers per prompt")
    round: PositiveInt | None = Field(None, description="answers per prompt and round; null: all of them at once")
    right: int = Field(1, ge=0, description="right answers with which a prompt has enough")
    wrong: int = Field(1, ge=0, description="wrong answers with which it has enough, beside the right ones")
    keep: Literal["balanced", "extremes"] = Field(
        "balanced",
        description="which n are learned from: as many right as wrong ones, as far as there are, the earliest first; "
        "or half of highest and half of lowest reward",
    )


class AnswerRollouts(Grouped, SamplingConfig):
    """What answers read."""

    context: SerializeAsAny[ContextSettings] | None = Field(
        None, description="what answers are sampled under and not scored under; null: nothing"
    )

    pool: Pool | None = Field(None, description="answers beyond n, of which n are learned from; null: n are sampled")

    @field_validator("context", mode="before")
    @classmethod
    def _own_settings(cls, raw: Any) -> ContextSettings | None:
        return context_settings(raw)

    @model_validator(mode="after")
    def _pool_is_larger(self) -> AnswerRollouts:
        if self.pool is None:
            return self
        if self.pool.size <= self.n:
            raise ValueError(f"pool.size {self.pool.size} leaves nothing to choose: it is not above n {self.n}")
        first = self.pool.round or self.pool.size
        if first > self.pool.size:
            raise ValueError(f"pool.round {first} is above pool.size {self.pool.size}")
        if self.context is not None:
            raise ValueError("pool beside context: answers under a context are no part of a pool; leave one out")
        return self


class EpisodeRollouts(Grouped, Played, DecisionSampling):
    """What episodes read: no text ends their decisions, whose number of units is that of their actions."""


# What reads `rollout` of a stage, by what a dataset gives; held-out episodes are played in the chunks and lanes of the
# stages, and recorded actions are those of a whole chunk.
READ_BY: dict[str, type[Settings]] = {
    "answers": AnswerRollouts,
    "episodes": EpisodeRollouts,
    "actions": Chunked,
    "held-out episodes": Played,
}


class RolloutConfig(AnswerRollouts, EpisodeRollouts):
    """How groups are sampled: what the sources of a stage's data read. What none of them reads is refused."""

    @model_validator(mode="before")
    @classmethod
    def _engine_is_elsewhere(cls, raw: Any) -> Any:
        for key, place in (("engine", "name"), ("batch_size", "batch_size")):
            if isinstance(raw, Mapping) and key in raw:
                raise ValueError(
                    f"'{key}' is the engine's, which serves the whole run; write `engine: {{{place}: {raw[key]}}}` at "
                    "the top of the recipe"
                )
        return raw


class GreedyConfig(DecisionSampling):
    """How held-out answers are sampled: greedily by default."""

    temperature: float = Field(0.0, ge=0.0, description="0 is greedy")
    max_new_tokens: PositiveInt | None = Field(
        None, description="None: rollout.max_new_tokens of the stage that trains the policy, or begins"
    )
    stop: list[str] = Field([], description="text that ends a completion, besides the end-of-turn token")

    def limited(self, limit: int) -> SamplingConfig:
        """The settings of an engine, with `limit` units where none is named."""
        return SamplingConfig(**{**self.model_dump(), "max_new_tokens": self.max_new_tokens or limit})
