"""Where training stands."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeInt, TypeAdapter, ValidationError

from mmrl.contracts.errors import CheckpointError, ConfigError, unknown
from mmrl.recipe.training import StageConfig
from mmrl.recipe.until import Loop
from mmrl.tracking.metrics import describe


@dataclass
class Place:
    """Where training stands; what a checkpoint's state.json holds besides the data's place.

    Attributes:
        updates: optimizer steps of all stages so far: the version of the weights.
        watched: newest values of the figure that may end the stage.
        over: it has.
        ends: stage to the step at which it ended.
        rounds: by the name of rounds that a figure may end (`Loop`), its `values`, one per round, and those `measured`
            in the round in progress.
        skipped: stages of rounds that do not come.
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
    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    skipped: list[NonNegativeInt] = field(default_factory=list)

    def watch(self, stage: StageConfig, figures: Mapping[str, float], held_out: bool = False) -> None:
        """Takes note of the figures that may end the stage, or rounds, where they are of this kind.

        Args:
            figures: of a step, or of an evaluation.
            held_out: they are of an evaluation, and called eval/….

        Raises:
            ConfigError: the figure is of this kind, and not among them.
        """
        for loop in stage.loops or ():
            if loop.until.figure in figures and loop.until.held_out == held_out:
                self._rounds(loop.name)["measured"].append(float(figures[loop.until.figure]))
        until = stage.until
        if until is None or until.held_out != held_out:
            return
        if until.figure in figures:
            self.watched = [*self.watched, float(figures[until.figure])][-until.kept :]
            self.over = until.reached(self.watched)
        else:
            raise ConfigError(f"stages.{stage.name}.until.figure: {unknown('figure', until.figure, figures)}")

    def next_stage(self, stages: Sequence[StageConfig]) -> list[str]:
        """Goes to the beginning of the next stage, behind rounds that a figure has ended.

        Args:
            stages: of the whole recipe.

        Returns:
            a line for each round that is over: the figure that may end its like, and whether it did.

        Raises:
            ConfigError: none of a round's stages has the figure.
        """
        lines = []
        for loop in reversed(stages[self.stage].loops or ()):
            following = self._following(stages)
            if following < len(stages) and _in_round(stages[following], loop):
                break
            lines.append(self._end_round(stages, loop))
        self.stage, self.stage_step, self.watched, self.over = self._following(stages), 0, [], False
        return lines

    def is_last(self, stages: Sequence[StageConfig], trained: bool = False) -> bool:
        """Whether no stage follows the one in progress, were it over now; with `trained`: none that trains."""
        ahead = copy.deepcopy(self)
        ahead.next_stage(stages)
        while trained and ahead.stage < len(stages) and stages[ahead.stage].generate is not None:
            ahead.next_stage(stages)
        return ahead.stage == len(stages)

    def _following(self, stages: Sequence[StageConfig]) -> int:
        return next((i for i in range(self.stage + 1, len(stages)) if i not in self.skipped), len(stages))

    def _rounds(self, name: str) -> dict[str, list[float]]:
        return self.rounds.setdefault(name, {"values": [], "measured": []})

    def _end_round(self, stages: Sequence[StageConfig], loop: Loop) -> str:
        until, rounds = loop.until, self._rounds(loop.name)
        if not rounds["measured"]:
            raise ConfigError(
                f"{loop.name}.until.figure: no stage of round {loop.round} has a figure '{until.figure}'; name one "
                "that metrics.jsonl has for these stages"
            )
        rounds["values"].append(until.value(rounds["measured"]))
        rounds["measured"] = []
        line = f"{loop.name}, round {loop.round} of {loop.rounds}: {until.figure} {rounds['values'][-1]:.4g}"
        if loop.round == loop.rounds or not until.reached(rounds["values"]):
            return line
        further = range(self.stage + 1, len(stages))
        self.skipped += [i for i in further if any(each.name == loop.name for each in stages[i].loops or ())]
        return f"{line}; no further round"


def refuse_unknown_figures(stages: Sequence[StageConfig]) -> None:
    """Raises ConfigError where rounds end by a figure that nothing logs, before the first of them is trained."""
    for loop in {loop.name: loop for stage in stages for loop in stage.loops or ()}.values():
        try:
            describe(loop.until.figure)
        except LookupError as error:
            raise ConfigError(f"{loop.name}.until.figure: {error.args[0]}") from None


def _in_round(stage: StageConfig, loop: Loop) -> bool:
    return any((each.name, each.round) == (loop.name, loop.round) for each in stage.loops or ())


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
