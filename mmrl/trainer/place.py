"""Where training stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeInt, TypeAdapter, ValidationError

from mmrl.contracts.errors import CheckpointError, ConfigError, unknown
from mmrl.recipe.training import StageConfig


@dataclass
class Place:
    """Where training stands; what a checkpoint's state.json holds besides the data's place.

    Attributes:
        updates: optimizer steps of all stages so far: the version of the weights.
        watched: newest values of the figure that may end the stage.
        over: it has.
        ends: stage to the step at which it ended.
    """

    step: NonNegativeInt = 0
    updates: NonNegativeInt = 0
    stage: NonNegativeInt = 0
    stage_step: NonNegativeInt = 0
    evaluations: dict[str, dict[str, float]] = field(default_factory=dict)
    best: dict[str, Any] | None = None
    watched: list[float] = field(default_factory=list)
    over: bool = False
    ends: dict[str, NonNegativeInt] = field(default_factory=dict)

    def watch(self, stage: StageConfig, figures: Mapping[str, float], held_out: bool = False) -> None:
        """Takes note of the figure that may end the stage (`until`), where it is of this kind.

        Args:
            figures: of a step, or of an evaluation.
            held_out: they are of an evaluation, and called eval/….

        Raises:
            ConfigError: the figure is of this kind, and not among them.
        """
        until = stage.until
        if until is None or until.figure.startswith("eval/") != held_out:
            return
        if until.figure in figures:
            self.watched = [*self.watched, float(figures[until.figure])][-until.kept :]
            self.over = until.reached(self.watched)
        else:
            raise ConfigError(f"stages.{stage.name}.until.figure: {unknown('figure', until.figure, figures)}")

    def next_stage(self) -> None:
        """Goes to the beginning of the next stage."""
        self.stage, self.stage_step, self.watched, self.over = self.stage + 1, 0, [], False


class _State(BaseModel):
    """What `Session.save` puts into a checkpoint's state.json."""

    place: Place
    optimizer_steps: NonNegativeInt
    controllers: dict[str, dict[str, Any]]
    sampler: dict[str, Any]
    stages: list[str]
    parameters: str
    surroundings: dict[str, str]


def read_place(source: Path, state: Mapping[str, Any], stages: Sequence[str]) -> Place:
    """Where training stands in a checkpoint of a recipe with these stages.

    Raises:
        CheckpointError: one line; keys are missing, of another type or out of range, or the stages are others.
    """
    try:
        # As JSON, which strict checks let into dataclasses.
        read = TypeAdapter(_State).validate_json(json.dumps(dict(state)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"checkpoint '{source}' is damaged: {key} of state.json: {first['msg']}") from None
    if read.stages != list(stages):
        raise CheckpointError(f"checkpoint '{source}' has stages {read.stages}, and this recipe has {list(stages)}")
    if read.place.stage >= len(stages):
        raise CheckpointError(
            f"checkpoint '{source}' is damaged: place.stage of state.json is {read.place.stage} of {len(stages)} stages"
        )
    # As it stands there: checks turn whole numbers into floats.
    return Place(**{f.name: state["place"][f.name] for f in fields(Place) if f.name in state["place"]})
