"""What can be told of a run's data before a model is loaded: by the first rows of each dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample
from mmrl.data.alike import first_of_each
from mmrl.recipe.schema import Recipe
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.sources import SOURCES

FIRST_ROWS = 32
# Rows are read, and no picture of them is decoded.
SEARCHED_ROWS = 1024


def check_data(
    recipe: Recipe,
    datasets: Sequence[Sequence[Sample]],
    sets: Mapping[str, Sequence[Sample]],
    rewarder: Rewarder,
    passed: bool,
) -> list[tuple[str, BadSample]]:
    """What `check_first_rows` and `check_held_out_rows` have of a run's data.

    Args:
        passed: `datasets` are given from Python, and are none of the recipe's.
    """
    bad: list[tuple[str, BadSample]] = []
    if passed:
        rolled_out = any(stage.objective.rollouts for stage in recipe.stages)
        for rows in datasets:
            bad += check_first_rows(recipe, rows, rewarder, getattr(rows, "name", None) or "train_data", rolled_out)
    else:
        for config, rows in zip(recipe.data.train, datasets, strict=True):
            name = config.name or getattr(rows, "name", None) or config.type
            bad += check_first_rows(
                recipe, rows, rewarder, name, recipe.rolls_out(config), demonstrates=config.use != "rollouts"
            )
    return [*bad, *check_held_out_rows(recipe, sets, rewarder)]


def check_first_rows(
    recipe: Recipe,
    rows: Sequence[Sample],
    rewarder: Rewarder,
    name: str,
    rolled_out: bool,
    demonstrates: bool = True,
) -> list[tuple[str, BadSample]]:
    """Refuses a training dataset of which the first rows show that a stage cannot use it.

    Args:
        rows: those that take long to build are not looked at.
        rolled_out: the policy answers them.
        demonstrates: stages that draw demonstrations may draw from it.

    Returns:
        "train" with each bad row, of a recipe that skips these.

    Raises:
        UserError: a stage draws demonstrations, and the dataset, read to its end, has none.
        BadSample: a row cannot be read, or its reward cannot read its target, and the recipe stops at bad samples. It
            says how many of the first rows are alike.
    """
    if getattr(rows, "threaded", False):
        return []
    bad = _refused("train", _errors(rows, FIRST_ROWS, rewarder.check if rolled_out else None), recipe)
    drawing = [stage.name for stage in recipe.stages if stage.objective.demonstrations]
    if drawing and demonstrates and len(rows) <= SEARCHED_ROWS and not _demonstrated(rows):
        raise UserError(
            f"dataset '{name}': none of the {len(rows)} rows has a demonstration, which stage '{drawing[0]}' draws; "
            "add them, set use: rollouts, or choose a method without (grpo)"
        )
    return bad


def check_held_out_rows(
    recipe: Recipe, sets: Mapping[str, Sequence[Sample]], rewarder: Rewarder
) -> list[tuple[str, BadSample]]:
    """Refuses held-out data likewise: by the first rows of each set that evaluation measures.

    Returns:
        "eval" with each bad row, of a recipe that skips these.

    Raises:
        BadSample: as `check_first_rows`.
    """

    def check(sample: Sample) -> None:
        if not rewarder.only_learned(sample):
            rewarder.check(sample)

    bad: list[tuple[str, BadSample]] = []
    for rows in sets.values():
        if not getattr(rows, "threaded", False):
            count = min(FIRST_ROWS, recipe.evaluation.limit or FIRST_ROWS)
            bad += _refused("eval", _errors(rows, count, check), recipe)
    return bad


def _errors(rows: Sequence[Sample], count: int, check: Callable[[Sample], None] | None) -> list[BadSample]:
    """What is wrong with the first rows, a row each; `check` is asked about those that rewards may score."""
    errors = []
    for row in range(min(count, len(rows))):
        try:
            sample = rows[row]
            recorded = sample.actions is not None or sample.steps
            if check is not None and SOURCES.get(sample.kind).rewarded and not recorded:
                check(sample)
        except BadSample as error:
            errors.append(error)
    return errors


def _refused(data: str, errors: Sequence[BadSample], recipe: Recipe) -> list[tuple[str, BadSample]]:
    if errors and recipe.data.on_bad_sample == "stop":
        raise first_of_each(errors)[0]
    return [(data, error) for error in errors]


def _demonstrated(rows: Sequence[Sample]) -> bool:
    """Whether a row has a demonstration, or may have one: what cannot be read is said when it is drawn."""
    for row in range(len(rows)):
        try:
            if rows[row].demonstrated:
                return True
        except BadSample:
            return True
    return False
