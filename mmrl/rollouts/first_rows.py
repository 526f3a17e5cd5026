"""What can be told of training data before a model is loaded: by the first rows of each dataset."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample
from mmrl.recipe.schema import Recipe
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.sources import SOURCES

REWARDED_ROWS = 32
# Rows are read, and no picture of them is decoded.
SEARCHED_ROWS = 1024


def check_first_rows(recipe: Recipe, datasets: Sequence[Sequence[Sample]], rewarder: Rewarder) -> None:
    """Refuses training data of which the first rows show that a stage cannot use it.

    Args:
        datasets: those of `data.train`, in order. Rows that take long to build are not looked at.

    Raises:
        UserError: a stage draws demonstrations, and a dataset that was read to its end has none.
        BadSample: a row cannot be read, or its reward cannot read its target, and the recipe stops at bad samples.
    """
    drawing = [stage.name for stage in recipe.stages if stage.objective.demonstrations]
    for config, rows in zip(recipe.data.train, datasets, strict=True):
        if getattr(rows, "threaded", False):
            continue
        if recipe.rolls_out(config):
            _check_rewards(rows, rewarder, recipe.data.on_bad_sample == "stop")
        if drawing and config.use != "rollouts" and len(rows) <= SEARCHED_ROWS and not _demonstrated(rows):
            raise UserError(
                f"dataset '{config.name or getattr(rows, 'name', config.type)}': none of the {len(rows)} rows has a "
                f"demonstration, which stage '{drawing[0]}' draws; add them, set use: rollouts, or choose a method "
                "without (grpo)"
            )


def _check_rewards(rows: Sequence[Sample], rewarder: Rewarder, stop: bool) -> None:
    for row in range(min(REWARDED_ROWS, len(rows))):
        try:
            sample = rows[row]
            if SOURCES.get(sample.kind).rewarded and sample.actions is None and not sample.steps:
                rewarder.check(sample)
        except BadSample:
            if stop:
                raise


def _demonstrated(rows: Sequence[Sample]) -> bool:
    """Whether a row has a demonstration, or may have one: what cannot be read is said when it is drawn."""
    for row in range(len(rows)):
        try:
            if rows[row].demonstrated:
                return True
        except BadSample:
            return True
    return False
