"""Which simulators' scripted experts a recipe asks, and what is said where one has none."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.recipe.data import AnyData, EpisodeData
from mmrl.recipe.objective import Objective
from mmrl.recipe.training import StageConfig

DRAWN = "set use: rollouts there, where other data give demonstrations, or use a method without (grpo)"
PLAYED = "use a method that demonstrates no episodes (grpo)"


def refusals(train: Sequence[AnyData], stages: Sequence[StageConfig]) -> dict[str, str]:
    """Simulators whose scripted expert some stage asks -> the line that refuses one without.

    Rows of type `python` may name simulators too; what they ask shows when they are drawn.
    """
    refused: dict[str, str] = {}
    for stage in stages:
        for i, data in enumerate(train):
            if not isinstance(data, EpisodeData):
                continue
            cure = _cure(stage.objective, data.use)
            if cure is not None:
                line = (
                    f"data.train.{i}: stage '{stage.name}' draws demonstrations of these episodes, and "
                    f"simulators.{data.simulator} has no scripted expert to give them; {cure}"
                )
                refused.setdefault(data.simulator, line)
    return refused


def _cure(objective: Objective, use: str) -> str | None:
    """What spares a stage the expert; None where it does not ask it for episodes of this use."""
    if (objective.gate or objective.buffer or objective.inject) and use != "demonstrations":
        return PLAYED
    return DRAWN if objective.demonstrations and use != "rollouts" else None
