"""Stages that open the policy anew: from other weights than the stage before left, or with other parts in training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.contracts.policy import Policy
from mmrl.policies.adapted_model import AdaptedModel
from mmrl.policies.loading import difference, model_of
from mmrl.policies.opening import load_policy
from mmrl.recipe.beginnings import opened_at, start_folder
from mmrl.recipe.policy import PolicyConfig, TrainedConfig
from mmrl.recipe.schema import Recipe
from mmrl.trainer import checkpoint
from mmrl.trainer.place import Place
from mmrl.trainer.seeding import derive, seed_everything
from mmrl.trainer.session import Session


def check_sources(recipe: Recipe, first: int = 0) -> None:
    """Raises CheckpointError where a stage starts from a folder that is not there, or holds another model.

    Args:
        first: the first stage that has not begun; those before it need their sources no more.
    """
    names = {stage.name for stage in recipe.stages}
    for stage in recipe.stages[first:]:
        for source in set(stage.origin or ()) - names:
            try:
                problem = difference(source, recipe.policy.path, recipe.policy.type)
            except CheckpointError as error:
                raise _of_stage(error, stage.name) from None
            if problem is not None:
                raise CheckpointError(
                    f"stages.{stage.name}.from: '{source}' is of another model than policy.path "
                    f"'{recipe.policy.path}' ({problem}); a stage goes on with a model of the same sizes"
                )


def _of_stage(error: Exception, stage: str) -> CheckpointError:
    return CheckpointError(f"stages.{stage}.from: {str(error).removeprefix('policy.path: ')}")


def begin_stage(session: Session, place: Place) -> None:
    """At the first step of a stage that opens the policy anew, writes the model that it starts from and opens that.

    A run that goes on inside the stage, or does it all over, opens the same model: `stages/<stage>/model`, in
    `policy.dtype`, any adapters merged.

    Raises:
        UserError: a source that is not there, is of another model, or does not load.
    """
    recipe, index = session.recipe, place.stage
    stage = recipe.stages[index]
    if place.stage_step or session.begun == index or opened_at(recipe, index, place.skipped) != index:
        return
    config = recipe.of(stage).policy
    state = {"place": {"stage": index}, "from": stage.origin, "step": place.step, **_trained(config)}
    folder = start_folder(recipe.folder, stage.name)
    if session.world.writes:
        _write_start(session, place, config, folder, state)
    session.world.exchange(f"the model that stage {stage.name} starts from", None)
    # What adapters and a critic begin with.
    seed_everything(derive(recipe.seed, stage.name, "begin"))
    session.take(config.model_copy(update={"path": str(folder / "model")}), index, place.updates)
    trained = sum(parameter.numel() for _, parameter, _ in session.policy.trainable())
    origin = _shown(stage.origin) if stage.origin is not None else "the stage before"
    session.tracker.say(f"{stage.name}: starts from {origin}; trains {trained:,} parameters{_parts(state)}")


def _trained(config: PolicyConfig) -> dict[str, Any]:
    """What trains under these settings, as state.json has it."""
    if not isinstance(config, TrainedConfig):
        return {"freeze": [], "lora": None}
    return config.model_dump(mode="json", include={"freeze", "lora"})


def _write_start(session: Session, place: Place, config: PolicyConfig, folder: Path, state: Mapping[str, Any]) -> None:
    """Writes the model that the stage starts from, with `state` beside it."""
    stage = session.recipe.stages[place.stage]
    policy = session.policy
    if stage.origin is not None:
        try:
            policy = summed(config, {_source(session, place, name): w for name, w in stage.origin.items()})
        except (CheckpointError, ConfigError) as error:
            raise _of_stage(error, stage.name) from None
    checkpoint.save_whole(folder, lambda aside: policy.save_pretrained(aside / "model"), state)


def _parts(state: Mapping[str, Any]) -> str:
    if state["lora"]:
        return f", LoRA of rank {state['lora']['rank']}"
    return f", frozen: {', '.join(state['freeze'])}" if state["freeze"] else ", nothing frozen"


def _shown(origin: Mapping[str, float]) -> str:
    if len(origin) == 1:
        return next(iter(origin))
    return " + ".join(f"{weight:.3g} x {name}" for name, weight in origin.items())


def _source(session: Session, place: Place, name: str) -> str:
    """The folder or hub name of what a stage starts from."""
    if name not in [stage.name for stage in session.recipe.stages]:
        return name
    if name not in place.ends:
        raise CheckpointError(f"stage '{name}' has no end in this run; run it first")
    folder = session.folder / checkpoint.step_name(place.ends[name])
    if not folder.is_dir():
        raise CheckpointError(f"stage '{name}' ended with '{folder}', which is not there; go on in the run itself")
    return str(model_of(folder))


@torch.no_grad()
def summed(config: PolicyConfig, sources: Mapping[str, float]) -> Policy:
    """A policy whose weights are those of several checkpoints times a number each, added in float32.

    A critic, and all that is no weight, is the first one's.

    Args:
        config: the settings but for the path; nothing of it is adapted or frozen.
        sources: folder, run or hub name to its number.

    Raises:
        CheckpointError: one is not there, does not load, or has other weights than the first.
    """
    plain: dict[str, Any] = {"lora": None, "freeze": []} if isinstance(config, TrainedConfig) else {}
    first: Policy | None = None
    total: dict[str, torch.Tensor] = {}
    for path, weight in sources.items():
        policy = load_policy(config.model_copy(update={**plain, "path": path}))
        if len(sources) == 1:
            return policy
        weights = _weights(policy)
        if first is None:
            first, total = policy, {name: weight * value.float() for name, value in weights.items()}
            continue
        _refuse_other_weights(total, weights, Path(path))
        for name, value in weights.items():
            total[name] += weight * value.float()
        del policy, weights
    if first is None:
        raise ValueError("nothing to start from")
    for name, value in _weights(first).items():
        value.copy_(total[name])
    return first


def _weights(policy: Policy) -> dict[str, torch.Tensor]:
    if not isinstance(policy, AdaptedModel):
        raise CheckpointError(f"weights of policy.type '{policy.config.type}' cannot be added; name one source")
    return {name: value for name, value in policy.module.state_dict().items() if value.is_floating_point()}


def _refuse_other_weights(here: Mapping[str, torch.Tensor], there: Mapping[str, torch.Tensor], path: Path) -> None:
    shapes = [{name: tuple(value.shape) for name, value in weights.items()} for weights in (here, there)]
    for name in {**shapes[0], **shapes[1]}:
        if shapes[0].get(name) != shapes[1].get(name):
            raise CheckpointError(
                f"'{path}' is of another model than the first: '{name}' is {shapes[1].get(name)} there and "
                f"{shapes[0].get(name)} in the first"
            )
