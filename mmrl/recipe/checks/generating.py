"""Data that a policy makes, and the stages that read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import unknown
from mmrl.recipe.data import DataConfig, GeneratedData
from mmrl.recipe.policies.registry import entry_of


def generated_folder(run: Path, stage: str) -> Path:
    """Where a stage of a run writes what it generates."""
    return run / "generated" / stage


def check_generating(stage: Any, recipe: Any) -> None:
    """A stage (`StageConfig`) of a recipe (`Recipe`) can generate.

    Raises:
        ValueError: its policy answers no questions, or its data hold none.
    """
    if (entry_of(recipe.policy.type).engine or "tokens") != "tokens":
        raise ValueError(
            f"stages.{stage.name}: policy.type '{recipe.policy.type}' writes no text, so it generates none"
        )
    for i, data in enumerate(recipe.data.train):
        if data.gives in ("episodes", "actions"):
            raise ValueError(
                f"data.train.{i}: stage '{stage.name}' generates answers, and data of type '{data.type}' hold none to "
                "answer; give it data with questions"
            )


def settle_generated(stages: Sequence[Any], data: DataConfig, run: Path) -> None:
    """Tells data of type `generated` where it lies.

    Raises:
        ValueError: no stage generates it, or a stage reads it before it is there.
    """
    making = [stage.name for stage in stages if stage.generate is not None]
    for place, stage in enumerate(stages):
        own = stage.data if stage.data is not None else data
        for key, sets in (("train", own.train), ("eval", own.eval)):
            for i, dataset in enumerate(sets):
                if not isinstance(dataset, GeneratedData):
                    continue
                where = f"stages.{stage.name}: data.{key}.{i}.stage"
                if dataset.stage not in making:
                    raise ValueError(f"{where}: {unknown('stage that generates', dataset.stage, making)}")
                if [each.name for each in stages].index(dataset.stage) >= place:
                    raise ValueError(f"{where}: stage '{dataset.stage}' generates it later than it is read here")
                dataset.settle(str(generated_folder(run, dataset.stage)))


def reads_from(recipe: Any) -> set[str]:
    """The stages whose data a recipe reads, as some of its stages have it (`Recipe.apart`)."""
    sets = (*recipe.data.train, *recipe.data.eval)
    return {dataset.stage for dataset in sets if isinstance(dataset, GeneratedData)}
