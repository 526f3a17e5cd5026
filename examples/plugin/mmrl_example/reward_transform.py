"""A reward transform: answers of no words earn less."""

from pydantic import Field

from mmrl.objectives.scored import Groups
from mmrl.recipe.reward_transforms import RewardTransform, RewardTransformSettings


class SilenceSettings(RewardTransformSettings):
    """What an answer of one unit or fewer loses."""

    kind: str = "example_silence"
    weight: float = Field(0.5, ge=0.0, description="taken off the reward")


def silence(groups: Groups, own: SilenceSettings) -> list[list[float]]:
    """Rewards, less the weight where an answer is its end token alone."""
    return [[t.reward - own.weight * (t.units <= 1) for t in group] for group in groups]


SILENCE = RewardTransform(code=silence, settings=SilenceSettings, doc="takes weight off answers of no words.")
