"""An advantage: the rank of a reward within its group, which no scale of rewards changes."""

from mmrl.objectives.scored import Groups
from mmrl.recipe.advantages import Advantage, AdvantageSettings


class RankSettings(AdvantageSettings):
    """It has no parameters."""

    kind: str = "example_rank"


def rank(groups: Groups, own: RankSettings) -> list[list[float]]:
    """The share of the group that earns less, minus that which earns more: in [-1, 1], 0 where all are equal."""
    advantages = []
    for group in groups:
        rewards = [trajectory.reward for trajectory in group]
        advantages.append([sum((r > other) - (r < other) for other in rewards) / len(rewards) for r in rewards])
    return advantages


RANK = Advantage(code=rank, settings=RankSettings, doc="share of the group that earns less minus that which earns more")
