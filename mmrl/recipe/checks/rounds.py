"""Rounds that a figure may end: the figure can be there, and nothing needs a round that may never come."""

from __future__ import annotations

from typing import Any

from mmrl.recipe.data import GeneratedData


def check_rounds(recipe: Any) -> None:
    """The rounds of a recipe (`Recipe`) can end early.

    Raises:
        ValueError: a held-out figure without held-out data, or a stage that reads, or starts from, one that may not
            have run.
    """
    by_name = {stage.name: stage for stage in recipe.stages}
    for stage in recipe.stages:
        for loop in stage.loops or ():
            if loop.until.held_out and not _measures(recipe, loop.name):
                raise ValueError(
                    f"{loop.name}.until.figure: '{loop.until.figure}' is measured on held-out data, and these stages "
                    "have none; add data.eval, or name a figure of training"
                )
        own = recipe.of(stage).data
        train, held_out = (
            [data.stage for data in sets if isinstance(data, GeneratedData)] for sets in (own.train, own.eval)
        )
        for key, names in (("data.train", train), ("data.eval", held_out), ("from", stage.origin or ())):
            for name in names:
                if name in by_name and (loop := _uncertain(by_name[name], stage)) is not None:
                    raise ValueError(
                        f"stages.{stage.name}.{key}: '{name}' is in round {loop.round} of {loop.name}, which "
                        "`until` may end before; name a stage of round 1, or leave `until` out"
                    )


def _measures(recipe: Any, loop: str) -> bool:
    """Whether a stage of these rounds is evaluated."""
    stages = [stage for stage in recipe.stages if any(each.name == loop for each in stage.loops or ())]
    parts = [recipe.of(stage) for stage in stages if stage.generate is None]
    return "eval_data" in recipe.code or any(part.data.eval or part.evaluation.benchmarks for part in parts)


def _uncertain(source: Any, reader: Any) -> Any:
    """The rounds that may have ended before a source ran, although its reader does; None: there are none."""
    rounds = {loop.name: loop.round for loop in reader.loops or ()}
    for loop in source.loops or ():
        if loop.round > 1 and rounds.get(loop.name, 0) < loop.round:
            return loop
    return None
