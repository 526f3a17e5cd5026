"""Prompts that the policy has not solved, until enough of them wait for their demonstrations to be learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmrl.recipe.collecting import Buffer


class Place(NamedTuple):
    """Where a prompt stands in the data: what its sample can be made of again."""

    dataset: int
    row: int
    epoch: int


class Waiting:
    """The prompts of one stage that wait, oldest first, each once."""

    def __init__(self, own: Buffer):
        self.own = own
        self._places: list[Place] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, places: Sequence[Place]) -> None:
        """Puts prompts behind the others; one that waits already moves there. The oldest beyond the limit are gone."""
        for place in places:
            self._places = [known for known in self._places if known[:2] != place[:2]] + [place]
        if self.own.most is not None:
            self._places = self._places[-self.own.most :]

    def release(self) -> list[Place]:
        """The newest `size` prompts, newest first, which then wait no more; none where fewer wait."""
        if len(self._places) < self.own.size:
            return []
        released = self._places[-self.own.size :][::-1]
        self._places = self._places[: -self.own.size]
        return released

    def state_dict(self) -> dict[str, Any]:
        """The prompts that wait."""
        return {"waiting": [list(place) for place in self._places]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The prompts that wait."""
        self._places = [Place(*map(int, place)) for place in state["waiting"]]
