"""What a stage works with beside the policy: its recipe, data, rewards and evaluation, opened when the run is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrl.contracts.errors import BadSample, CheckpointError
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Sample
from mmrl.data.mixture import Mixture
from mmrl.recipe.schema import Recipe
from mmrl.rollouts.preparing import Preparer

Note = Callable[[BadSample, str | None, int | None], object]


@dataclass(frozen=True, slots=True)
class Opened:
    """What stages of equal sections work with.

    Attributes:
        recipe: as it stands in these stages, which are its `stages`.
        datasets: those of training.
        eval_sets: held-out sets by name.
        mixture: draws from `datasets`; shared with other stages that have the same data.
        preparer: with the rewards of these stages.
    """

    recipe: Recipe
    datasets: Sequence[Sequence[Sample]]
    eval_sets: Mapping[str, Sequence[Sample]]
    mixture: Mixture
    preparer: Preparer

    def serve(self) -> None:
        """Has the mixture draw for these stages: the same rows, with what their own rewards make of them."""
        self.mixture.serve(self.datasets, self.preparer.check)


def _measure(recipe: Recipe) -> Any:
    evaluation = recipe.evaluation.model_dump(exclude={"every", "videos"})
    rewards = [reward.model_dump() for reward in recipe.rewards]
    return recipe.data.model_dump(include={"eval"}), rewards, evaluation, recipe.checkpoint.best


class Program:
    """What each stage of a run works with.

    Args:
        parts: the recipe as each stage has it (`Recipe.apart`).
        policy: the one that they train.
        open_part: opens what stages of equal sections work with, for a policy.
        ready: whether it can be opened now; what waits for data that a stage generates is opened at its own stage.
    """

    def __init__(
        self,
        parts: Sequence[Recipe],
        policy: Policy,
        open_part: Callable[[Recipe, Policy], Opened],
        ready: Callable[[Recipe], bool],
    ):
        self.policy, self._recipes, self._open = policy, list(parts), open_part
        self._opened = {i: open_part(part, policy) for i, part in enumerate(parts) if ready(part)}
        self._part_of = {stage.name: i for i, part in enumerate(parts) for stage in part.stages}
        # By each stage, the first one whose held-out figures compare with its own.
        measures = [_measure(part) for part in parts]
        firsts = [parts[measures.index(measure)].stages[0].name for measure in measures]
        self._measured_as = {stage.name: first for part, first in zip(parts, firsts) for stage in part.stages}
        self._ears: tuple[Note, Callable[[str], object]] | None = None

    def of(self, stage: str) -> Opened:
        """What a stage works with, opened if it is not yet."""
        index = self._part_of[stage]
        if index not in self._opened:
            opened = self._opened[index] = self._open(self._recipes[index], self.policy)
            if self._ears is not None:
                opened.mixture.note, opened.preparer.tell = self._ears
        return self._opened[index]

    @property
    def parts(self) -> list[Opened]:
        """What is open."""
        return [self._opened[i] for i in sorted(self._opened)]

    def take(self, policy: Policy) -> None:
        """Gives every stage, also those that are opened later, a policy that was opened anew."""
        self.policy = policy
        for part in self.parts:
            part.preparer.policy = policy

    def measured_as(self, stage: str) -> str:
        """The first stage with the same held-out data, rewards, evaluation and best figure: theirs compare."""
        return self._measured_as[stage]

    @property
    def datasets(self) -> list[Sequence[Sample]]:
        """Every training dataset of the run once."""
        return [rows for mixture in self._mixtures().values() for rows in mixture.datasets]

    def _mixtures(self) -> dict[str, Mixture]:
        """The mixtures by the first stage that draws from each."""
        mixtures: dict[str, Mixture] = {}
        for part in self.parts:
            if not any(mixture is part.mixture for mixture in mixtures.values()):
                mixtures[part.recipe.stages[0].name] = part.mixture
        return mixtures

    def tell(self, note: Callable[[BadSample, str | None, int | None], object], say: Callable[[str], object]) -> None:
        """Gives everybody the tracker's ears: for bad rows, and for lines."""
        for part in self.parts:
            part.mixture.note, part.preparer.tell = note, say

    def state_dict(self) -> dict[str, Any]:
        """The place in all data: `sampler` of the first stage's; `samplers` of others, by the first stage of each."""
        (_, first), *others = self._mixtures().items()
        rest = {name: mixture.state_dict() for name, mixture in others}
        return {"sampler": first.state_dict()} | ({"samplers": rest} if rest else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state_dict` was taken. Raises CheckpointError where it is of other data."""
        (_, first), *others = self._mixtures().items()
        first.load_state_dict(state["sampler"])
        kept = state.get("samplers", {})
        known = {stage.name for part in self._recipes for stage in part.stages}
        if strange := sorted(set(kept) - known):
            raise CheckpointError(
                f"the checkpoint has a place in the data of stage '{strange[0]}', and this recipe has no such stage; "
                "restore the recipe, or set `resume: never` and another `name`"
            )
        # Stages that have not begun have no place yet.
        for name, mixture in others:
            if name in kept:
                mixture.load_state_dict(kept[name])
