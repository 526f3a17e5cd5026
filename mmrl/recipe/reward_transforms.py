"""Reward transforms by name: what is done to rewards before the advantage.

Their code is in `mmrl.objectives.reward_transforms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mmrl.recipe.parts import Part, PartSettings
from mmrl.recipe.registry import Registry


class RewardTransformSettings(PartSettings):
    """A change of the step's rewards before the advantage, by the `kind` of a transform."""

    def misfit(self, rollout: Any) -> str | None:
        """Why a stage's rollouts (`RolloutConfig`) do not fit, naming the key and its value; None where they do."""
        return None


class Overlong(RewardTransformSettings):
    """DAPO's soft overlong punishment: 0 up to L - cache units, then linearly down to -1 at L = max_new_tokens."""

    cache: PositiveInt
    weight: float = 1.0

    def misfit(self, rollout: Any) -> str | None:
        if self.cache < rollout.max_new_tokens:
            return None
        return (
            f"cache {self.cache} must be below rollout.max_new_tokens {rollout.max_new_tokens}; a fifth of it is usual"
        )


class RewardClip(RewardTransformSettings):
    """Rewards are held between two bounds."""

    low: float = -1.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> RewardClip:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self


class GroupLength(RewardTransformSettings):
    """Within a group, short answers earn up to weight / 2 more, and long ones up to weight / 2 less."""

    weight: PositiveFloat = 1.0
    threshold: float = Field(
        1.0, description="an answer is right when its accuracy reaches this; a wrong one earns no more for being short"
    )


class GroundTruth(RewardTransformSettings):
    """What a demonstration in a group is rewarded with."""

    without: dict[str, float] = Field(
        {}, description="reward parts that a demonstration earns nothing for: weight x part comes off"
    )
    smooth: bool = Field(True, description="where an answer earns as much, it earns the mean of the answers")

    def refusal(self, objective: Any) -> str | None:
        if objective.inject is None:
            return "is about demonstrations in groups, and none is injected; set inject: {}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTransform(Part):
    """A transform: `code` is a pure function of (groups of `Scored`, settings) to a reward per trajectory.

    Attributes:
        answers_only: it limits the length of answers, which episodes do not have.
    """

    answers_only: bool = False


REWARD_TRANSFORMS: Registry[RewardTransform] = Registry(
    "reward_transform",
    {
        "overlong": RewardTransform(
            code="mmrl.objectives.reward_transforms:overlong",
            settings=Overlong,
            answers_only=True,
            doc="adds -weight x min(1, max(0, (units - (L - cache)) / cache)) (DAPO, arXiv 2503.14476, eq. 13).",
        ),
        "clip": RewardTransform(
            code="mmrl.objectives.reward_transforms:clip",
            settings=RewardClip,
            doc="min(max(reward, low), high) (reward clipping, DQN, doi 10.1038/nature14236).",
        ),
        "ground_truth": RewardTransform(
            code="mmrl.objectives.reward_transforms:ground_truth",
            settings=GroundTruth,
            doc="of demonstrations in groups: weight x part comes off for the parts named, and where the best answer "
            "earns as much, the mean of the answers takes its place (the reward controls of ViSurf, arXiv 2510.10606, "
            "from a digest of the paper).",
        ),
        "group_length": RewardTransform(
            code="mmrl.objectives.reward_transforms:group_length",
            settings=GroupLength,
            answers_only=True,
            doc="adds weight x l for right answers and weight x min(0, l) for others, l = 1/2 - (units - shortest) / "
            "(longest - shortest) within the group; 0 where all are as long (length reward of Kimi k1.5, arXiv "
            "2501.12599).",
        ),
    },
)
