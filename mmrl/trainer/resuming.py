"""What a resumed run says of its recipe: the settings that have changed, and the schedules that jump because of it."""

from __future__ import annotations

import math
from pathlib import Path

from mmrl.contracts.errors import UserError
from mmrl.objectives.schedules import stream_weights
from mmrl.recipe.changes import changes
from mmrl.recipe.schema import Recipe, load_recipe
from mmrl.recipe.streams import Schedule
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.rewarding import Rewarder
from mmrl.trainer.optim import rate_factor
from mmrl.trainer.place import Place


def report_changes(earlier: Path, recipe: Recipe, place: Place, optimizer_steps: int, rewarder: Rewarder) -> list[str]:
    """Every setting that differs from those which the steps so far were taken with, and what jumps, a line each.

    Args:
        earlier: the file of the recipe which those steps were taken with.
        place: where training goes on.
        optimizer_steps: of the stage there that are behind it.
        rewarder: the run's rewards, some of which may tighten over a stage.
    """
    if not earlier.is_file():
        return [f"what has changed before step {place.step} is not known: '{earlier}' is missing"]
    try:
        old = load_recipe(earlier)
    except UserError as error:
        return [f"what has changed before step {place.step} is not known: '{earlier}' does not read: {error}"]
    here = {stage.name: stage for stage in old.stages}
    stage = recipe.stages[place.stage]
    lines = [f"{change} from step {place.step}" for change in changes(old, recipe)]
    if 0 < place.stage_step < stage.steps and stage.name in here:
        jumped = jumps(here[stage.name], stage, place.stage_step, optimizer_steps, rewarder)
        lines += [f"at step {place.step} {line}" for line in jumped]
    return lines


def jumps(old: StageConfig, new: StageConfig, step: int, optimizer_steps: int, rewarder: Rewarder) -> list[str]:
    """What jumps within a stage whose settings were `old` up to `step` of it."""
    return [
        *_rate_jump(old, new, optimizer_steps),
        *_weight_jumps(old, new, step),
        *_reward_jump(old, new, step, rewarder),
    ]


def _rate_jump(old: StageConfig, new: StageConfig, taken: int) -> list[str]:
    before, after = (rate_factor(stage.optim, taken, stage.optimizer_steps) for stage in (old, new))
    if math.isclose(before, after):
        return []
    schedules = [f"{stage.optim.schedule} over {stage.optimizer_steps}" for stage in (old, new)]
    rates = f"{old.optim.lr * before:.3g} to {new.optim.lr * after:.3g}"
    return [f"the learning rate jumps from {rates}: {' -> '.join(schedules)} optimizer steps"]


def _weight_jumps(old: StageConfig, new: StageConfig, step: int) -> list[str]:
    streams = [stage.objective.streams for stage in (old, new)]
    if not any(isinstance(stream.weight, Schedule) for its in streams for stream in its.values()):
        return []
    before, after = (stream_weights(its, step) for its in streams)
    return [
        f"the weight of stream {name} jumps from {before[name]:.3g} to {after[name]:.3g}"
        for name in before
        if name in after and not math.isclose(before[name], after[name])
    ]


def _reward_jump(old: StageConfig, new: StageConfig, step: int, rewarder: Rewarder) -> list[str]:
    if old.steps == new.steps or not rewarder.tightens:
        return []
    before, after = (step / stage.steps for stage in (old, new))
    return [f"rewards that tighten over the stage jump from {before:.0%} of it to {after:.0%}"]
