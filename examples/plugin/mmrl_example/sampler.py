"""A sampler that gives rows which were answered wrongly once more."""

from typing import Any, ClassVar

from pydantic import Field

from mmrl.contracts.sampler import Draw
from mmrl.data.samplers.weighted import Weighted
from mmrl.recipe.samplers import SamplerSettings


class HardestSettings(SamplerSettings):
    """Rows below an accuracy come once more, before new ones."""

    adapter: ClassVar[str] = "mmrl_example.sampler:Hardest"

    name: str = "example_hardest"
    below: float = Field(0.5, gt=0.0, le=1.0, description="mean accuracy of a group under which its row comes again")


class Hardest(Weighted):
    """The default sampler with a list of rows to repeat. Its state is the list, and the default's."""

    def __init__(self, pools, seed, settings):
        super().__init__(pools, seed, settings)
        self.again: list[list[int]] = []

    def row(self, walk, dataset) -> Draw:
        """A row to repeat, where the dataset has one; else the next of its order."""
        for i, (owner, row) in enumerate(self.again):
            if walk == "all" and owner == dataset:
                del self.again[i]
                return Draw(dataset, row, self._places[walk].epochs[dataset])
        return super().row(walk, dataset)

    def update(self, outcomes) -> None:
        """Takes note of the rows that were answered wrongly."""
        for outcome in outcomes:
            if sum(outcome.accuracies) / len(outcome.accuracies) < self.settings.below:
                self.again.append([outcome.dataset, outcome.row])

    def state_dict(self) -> dict[str, Any]:
        """The default's state and the rows to repeat."""
        return {**super().state_dict(), "again": [list(pair) for pair in self.again]}

    def load_state_dict(self, state) -> None:
        """See `state_dict`."""
        super().load_state_dict(state)
        self.again = [list(pair) for pair in state["again"]]
