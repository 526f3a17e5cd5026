"""What the stages of a recipe start from, and where their policy is opened anew. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import unknown
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.policy import PolicyConfig, TrainedConfig


def as_weights(written: Any) -> Any:
    """`from` of a stage as source to weight: one source, a list of sources (their mean), or a mapping itself.

    Raises:
        ValueError: nothing to start from, a source twice, or weights whose sum is not 1.
    """
    if written is None:
        return None
    if isinstance(written, str):
        return {written: 1.0}
    if isinstance(written, Sequence):
        if not all(isinstance(each, str) for each in written):
            raise ValueError("a list holds names alone; weights are a mapping, as in {a: 0.7, b: 0.3}")
        if twice := sorted({str(each) for each in written if list(written).count(each) > 1}):
            raise ValueError(f"'{twice[0]}' stands there twice; give weights, as in {{a: 0.7, b: 0.3}}")
        written = {each: 1.0 / len(written) for each in written}
    if not isinstance(written, Mapping):
        raise ValueError("a stage, a folder, a list of them or a mapping of them to weights is needed")
    if not written:
        raise ValueError("names nothing to start from; leave it out to go on from the stage before")
    numbers = [weight for weight in written.values() if isinstance(weight, int | float)]
    if len(numbers) == len(written) and not math.isclose(math.fsum(numbers), 1.0, abs_tol=1e-6):
        raise ValueError(f"weights sum to {math.fsum(numbers):g}, and the weights of a model's parts have to sum to 1")
    return dict(written)


def start_folder(run: Path, stage: str) -> Path:
    """Where a run keeps the model that a stage opens anew: `model/`, and what it was made of in state.json."""
    return run / "stages" / stage


def check_beginnings(recipe: Any) -> None:
    """The stages of a recipe (`Recipe`) can start from what they name, and train what they say.

    Raises:
        ValueError, ConfigError: a policy of which no part can be frozen, or a source that is not there yet.
    """
    earlier: list[str] = []
    names = [stage.name for stage in recipe.stages]
    for stage in recipe.stages:
        where = f"stages.{stage.name}"
        if stage.policy is not None and not isinstance(recipe.policy, TrainedConfig):
            raise ValueError(f"{where}.policy: policy.type '{recipe.policy.type}' has no parts to freeze or adapt")
        if stage.origin is not None and not entry_of(recipe.policy.type).parts:
            raise ValueError(f"{where}.from: policy.type '{recipe.policy.type}' is opened once and for all stages")
        for source in stage.origin or ():
            if source in names and source not in earlier:
                raise ValueError(f"{where}.from: stage '{source}' has not trained before this one")
            if source not in names and "/" not in source and not Path(source).expanduser().is_dir():
                raise ValueError(
                    f"{where}.from: {unknown('stage or folder', source, earlier)}; or a run, checkpoint or model"
                )
        if stage.generate is None:
            earlier.append(stage.name)


def what_trains(policy: PolicyConfig) -> Any:
    """What tells a policy's settings of training apart from those of another stage."""
    return (sorted(policy.freeze), policy.lora) if isinstance(policy, TrainedConfig) else None


def opened_at(recipe: Any, index: int, skipped: Collection[int] = ()) -> int | None:
    """The stage at whose beginning the policy of a stage was opened; None: when the run began.

    A stage opens it anew where it names what it starts from, or trains something else than the stage before.

    Args:
        recipe: a `Recipe`.
        index: of the stage.
        skipped: stages of rounds that did not come.
    """
    opened = None
    trains = what_trains(recipe.of(recipe.stages[0]).policy)
    for i, stage in enumerate(recipe.stages[: index + 1]):
        if stage.generate is not None or i in skipped:
            continue
        wanted = what_trains(recipe.of(stage).policy)
        if stage.origin is not None or wanted != trains:
            opened, trains = i, wanted
    return opened


def policy_in(recipe: Any, index: int, run: Path, skipped: Collection[int] = ()) -> PolicyConfig:
    """The settings by which the policy of a stage is opened.

    Args:
        recipe: a `Recipe`.
        index: of the stage.
        run: the folder of the run that has begun it.
        skipped: as for `opened_at`.
    """
    opened = opened_at(recipe, index, skipped)
    if opened is None:
        return recipe.of(recipe.stages[0]).policy
    stage = recipe.stages[opened]
    return recipe.of(stage).policy.model_copy(update={"path": str(start_folder(run, stage.name) / "model")})


def resumed_policy(recipe: Any, state: Mapping[str, Any] | None, source: Path | None) -> PolicyConfig:
    """The policy to load before a checkpoint's exact weights are put back: its own model, where it holds no others.

    Args:
        recipe: a `Recipe`.
        state, source: the checkpoint's state.json, and its folder; None: at the beginning.
    """
    if state is None or source is None:
        return recipe.of(recipe.stages[0]).policy
    index = min(state["place"]["stage"], len(recipe.stages) - 1)
    config = policy_in(recipe, index, source.parent.parent, state["place"].get("skipped", ()))
    if (isinstance(config, TrainedConfig) and config.lora) or config.dtype != "float32":
        return config
    return config.model_copy(update={"path": str(source / "model")})


def needed_later(recipe: Any, index: int) -> set[str]:
    """The stages from which a stage or those after it start, so that their last checkpoints stay."""
    return {source for stage in recipe.stages[index:] for source in stage.origin or ()}
