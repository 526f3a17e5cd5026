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
        ValueError: its data hold neither questions nor starts of episodes alone, its policy does nothing with them, or
            what is asked for is not made of episodes.
    """
    for i, data in enumerate(recipe.data.train):
        if data.gives == "actions":
            raise ValueError(
                f"data.train.{i}: stage '{stage.name}' answers or plays its data, and type '{data.type}' holds "
                "recorded actions; give it questions, or data of type episodes"
            )
    kinds = {data.gives for data in recipe.data.train} - {None}
    if kinds == {"answers", "episodes"}:
        raise ValueError(
            f"stages.{stage.name}: data.train holds questions and episodes; generate each in a stage of its own"
        )
    if "episodes" in kinds:
        _check_played(stage)
    elif stage.generate.videos and kinds:
        raise ValueError(
            f"stages.{stage.name}.generate.videos: films are of episodes, and data.train holds questions; leave it out"
        )
    elif not entry_of(recipe.policy.type).text:
        raise ValueError(
            f"stages.{stage.name}: policy.type '{recipe.policy.type}' writes no text, so it generates none; give it "
            "data of type episodes"
        )


def _check_played(stage: Any) -> None:
    """Raises ValueError on settings of a stage that plays episodes and that only answers have."""
    config, where = stage.generate, f"stages.{stage.name}.generate"
    if config.write != "answers":
        raise ValueError(f"{where}.write: '{config.write}' is not made of episodes; leave it out")
    for key in ("blind", "log_probs"):
        if getattr(config, key):
            raise ValueError(f"{where}.{key}: is of answers, and data.train holds episodes; leave it out")
    for rule in config.select:
        if rule.of_texts:
            raise ValueError(
                f"{where}.select: '{rule.name}' compares what answers say, and episodes say nothing; use right, best, "
                "top, length, pass_rate, hard or inconsistent"
            )


def plays(stage: Any, data: DataConfig) -> bool:
    """Whether a stage that generates plays episodes.

    Args:
        data: the recipe's.
    """
    own = stage.data if stage.data is not None else data
    return any(dataset.gives == "episodes" for dataset in own.train)


def settle_generated(stages: Sequence[Any], data: DataConfig, run: Path) -> None:
    """Tells data of type `generated` where it lies.

    Raises:
        ValueError: no stage generates it, or a stage reads it before it is there.
    """
    making = {stage.name: stage for stage in stages if stage.generate is not None}
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
                folder = str(generated_folder(run, dataset.stage))
                try:
                    sets[i] = settled = dataset.settle(folder, plays(making[dataset.stage], data))
                except ValueError as error:
                    raise ValueError(f"stages.{stage.name}: data.{key}.{i}.{error}") from None
                _check_chunk(stage, making[dataset.stage], settled)


def reads_from(recipe: Any) -> set[str]:
    """The stages whose data a recipe reads, as some of its stages have it (`Recipe.apart`)."""
    sets = (*recipe.data.train, *recipe.data.eval)
    return {dataset.stage for dataset in sets if isinstance(dataset, GeneratedData)}


def _check_chunk(stage: Any, maker: Any, dataset: GeneratedData) -> None:
    made, executed = maker.rollout.action_chunk, stage.rollout.action_chunk
    if dataset.gives == "actions" and stage.generate is None and made != executed:
        raise ValueError(
            f"stages.{stage.name}.rollout.action_chunk {executed} differs from the {made} actions per decision of "
            f"stage '{maker.name}', whose episodes it learns from; give both the same"
        )
