"""Datasets by weight, and from each its rows without replacement, in a new order each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mmrl.contracts.errors import CheckpointError
from mmrl.contracts.sampler import WALKS, Draw, Outcome, Pool, Walk
from mmrl.recipe.samplers import SamplerSettings, WeightedSettings


@dataclass(slots=True)
class _Place:
    """One walk's place: draws made, and epoch and position in each dataset."""

    drawn: int
    epochs: list[int]
    positions: list[int]


@dataclass(frozen=True, slots=True)
class Order:
    """A permutation of the members of one walk, such as a dataset's rows, for one epoch."""

    epoch: int = -1
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


class Weighted:
    """The default sampler. It learns nothing from outcomes."""

    # Its next draws follow from its state alone.
    foresees: ClassVar[bool] = True

    def __init__(self, pools: Sequence[Pool], seed: int = 0, settings: SamplerSettings | None = None):
        self.settings = settings or WeightedSettings()
        self.seed = seed
        self.sizes = [pool.size for pool in pools]
        self._shares = [pool.weight for pool in pools]
        unused = {"all": "demonstrations", "demonstrations": "rollouts"}
        self._weights = {walk: [pool.weight * (pool.use != unused[walk]) for pool in pools] for walk in WALKS}
        self._dropped: dict[Walk, set[int]] = {walk: set() for walk in WALKS}
        self._places = {walk: _Place(0, [0] * len(pools), [0] * len(pools)) for walk in WALKS}
        self._orders = {walk: [Order()] * len(pools) for walk in WALKS}

    @property
    def epochs(self) -> list[float]:
        """Passes over each dataset so far, of rollouts or demonstrations, whichever are more."""
        passes = [
            [epoch + position / size for epoch, position, size in zip(place.epochs, place.positions, self.sizes)]
            for place in self._places.values()
        ]
        return [max(pair) for pair in zip(*passes, strict=True)]

    def choose(self, walk: Walk) -> int | None:
        """See `Sampler.choose`."""
        place, weights = self._places[walk], self._left(walk)
        if not any(weights):
            return None
        chance = self._rng(walk, 0, place.drawn).random()
        edges = np.cumsum(weights)
        place.drawn += 1
        return int(np.searchsorted(edges / edges[-1], chance, side="right"))

    def row(self, walk: Walk, dataset: int) -> Draw:
        """See `Sampler.row`."""
        place, size = self._places[walk], self.sizes[dataset]
        if place.positions[dataset] == size:
            place.epochs[dataset] += 1
            place.positions[dataset] = 0
        order, epoch = self._orders[walk][dataset], place.epochs[dataset]
        if order.epoch != epoch:
            rows = self._rng(walk, 1 + dataset, epoch).permutation(size)
            order = self._orders[walk][dataset] = Order(epoch, rows)
        place.positions[dataset] += 1
        return Draw(dataset, int(order.rows[place.positions[dataset] - 1]), epoch)

    def drop(self, walk: Walk, dataset: int) -> bool:
        """See `Sampler.drop`."""
        if sum(weight > 0 for weight in self._left(walk)) <= 1:
            return False
        self._dropped[walk].add(dataset)
        return True

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing: what is drawn depends on no outcome."""

    def figures(self) -> dict[str, float]:
        """Nothing: the weights are the recipe's."""
        return {}

    def _left(self, walk: Walk) -> list[float]:
        """Each dataset's weight; 0 where it gives nothing."""
        return [0.0 if i in self._dropped[walk] else weight for i, weight in enumerate(self._weights[walk])]

    def _rng(self, walk: Walk, *key: int) -> np.random.Generator:
        entropy = (abs(self.seed), int(self.seed < 0), WALKS.index(walk), *key)
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))

    def state_dict(self) -> dict[str, Any]:
        """See `Sampler.state_dict`."""
        walks = {
            walk: {"drawn": place.drawn, "epochs": list(place.epochs), "positions": list(place.positions)}
            for walk, place in self._places.items()
        }
        # 0 where a dataset proved dry. What `use` leaves out is not: the recipe may say something else on resuming.
        weights = {
            walk: [0.0 if i in dropped else share for i, share in enumerate(self._shares)]
            for walk, dropped in self._dropped.items()
        }
        return {"seed": self.seed, "sizes": list(self.sizes), "walks": walks, "weights": weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        for key, now in (("sizes", self.sizes), ("seed", self.seed)):
            if state.get(key) != now:
                raise CheckpointError(f"the checkpoint's data has {key} {state.get(key)}, and this run's has {now}")
        for walk in WALKS:
            place = state["walks"][walk]
            self._places[walk] = _Place(place["drawn"], list(place["epochs"]), list(place["positions"]))
            self._check(walk)
            # Which datasets proved dry is part of the place; the weights may have been changed in the recipe.
            self._dropped[walk] = {i for i, weight in enumerate(state["weights"][walk]) if weight == 0.0}

    def _check(self, walk: Walk) -> None:
        """Raises CheckpointError where the walk is at no place of its datasets."""
        place = self._places[walk]
        counts = [place.drawn, *place.epochs, *place.positions]
        whole = len(place.epochs) == len(place.positions) == len(self.sizes)
        if not whole or any(not isinstance(count, int) or count < 0 for count in counts):
            raise CheckpointError(f"the checkpoint's place in the data is damaged: walk '{walk}' counts {counts}")
        if any(position > size for position, size in zip(place.positions, self.sizes)):
            raise CheckpointError(
                f"the checkpoint's place in the data is damaged: walk '{walk}' is at {place.positions} of {self.sizes}"
            )
