"""Recipes whose data cannot give what a stage draws. Imports nothing heavy: recipes are refused while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrl.data.settings import AnyData, EpisodeData, RobotData


def check_rewarded(stage: Any, train: Sequence[AnyData]) -> None:
    """Demonstrations that a stage weighs by what they earned carry rewards.

    Raises:
        ValueError: those of a training set do not.
    """
    from mmrl.objectives.methods import resolve_objective

    if resolve_objective(stage.method, stage.objective).offline is None:
        return
    for i, data in enumerate(train):
        whole = isinstance(data, EpisodeData) or (isinstance(data, RobotData) and data.draw == "episodes")
        if data.use != "rollouts" and not whole:
            cure = "set draw: episodes" if isinstance(data, RobotData) else "set use: rollouts, or leave it out"
            raise ValueError(
                f"stages.{stage.name}: method '{stage.method}' weighs demonstrations by what they earned, and those of "
                f"data.train.{i} (type '{data.type}') carry no rewards; {cure}"
            )
