"""What a stage works with beside the policy: its recipe, data, rewards and evaluation, opened when the run is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrl.contracts.errors import BadSample, CheckpointError
from mmrl.contracts.types import Sample
from mmrl.data.mixture import Mixture
from mmrl.recipe.schema import Recipe
from mmrl.rollouts.preparing import Preparer


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
        parts: what was opened, for each of `Recipe.apart`, in its order.
    """

    def __init__(self, parts: Sequence[Opened]):
        self.parts = list(parts)
        self._of_stage = {stage.name: part for part in parts for stage in part.recipe.stages}

    def of(self, stage: str) -> Opened:
        """What a stage works with."""
        return self._of_stage[stage]

    def measured_as(self, stage: str) -> str:
        """The first stage with the same held-out data, rewards, evaluation and best figure: theirs compare."""
        key = _measure(self.of(stage).recipe)
        return next(part.recipe.stages[0].name for part in self.parts if _measure(part.recipe) == key)

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
        if set(kept) != {name for name, _ in others}:
            raise CheckpointError(
                f"the checkpoint's stages with data of their own are {sorted(kept)}, and this recipe's are "
                f"{sorted(name for name, _ in others)}; restore the recipe, or set `resume: never` and another `name`"
            )
        for name, mixture in others:
            mixture.load_state_dict(kept[name])
