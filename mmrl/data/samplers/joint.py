"""The base of samplers that choose among the rows of all datasets together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from mmrl.contracts.errors import CheckpointError, UserError
from mmrl.contracts.sampler import Draw, Pool, Walk
from mmrl.data.samplers.weighted import Order, Weighted
from mmrl.recipe.samplers import SamplerSettings

Of = TypeVar("Of", bound=SamplerSettings)


class Joint(Weighted, Generic[Of]):
    """Draws rollouts by `pick`, a place among the rows of all datasets that give some; demonstrations by weight.

    Where what was picked is bad, the dataset's own walk goes on, so that every row is tried before none is left.

    Attributes:
        rows: [R, 2] int64, (dataset, row) of each place.
    """

    settings: Of

    def __init__(self, pools: Sequence[Pool], seed: int, settings: Of):
        super().__init__(pools, seed, settings)
        self.pools = pools
        sizes = [pool.size if pool.use != "demonstrations" else 0 for pool in pools]
        pairs = [np.stack([np.full(size, i), np.arange(size)], 1) for i, size in enumerate(sizes)]
        self.rows = np.concatenate(pairs).astype(np.int64)
        # The first place of each dataset among those of all.
        self._firsts = [0, *np.cumsum(sizes).tolist()]
        self.visits = np.zeros(len(self.rows), np.int64)
        self._picked: int | None = None
        self._shuffled: dict[tuple[int, ...], Order] = {}

    @abstractmethod
    def pick(self, draw: int) -> int:
        """The place of draw number `draw`, from 0. The same state gives the same place."""

    def choose(self, walk: Walk) -> int | None:
        """See `Sampler.choose`."""
        if walk != "all" or not len(self.rows):
            return super().choose(walk)
        place = self._places[walk]
        self._picked = self.pick(place.drawn)
        place.drawn += 1
        return int(self.rows[self._picked][0])

    def row(self, walk: Walk, dataset: int) -> Draw:
        """See `Sampler.row`."""
        if walk != "all" or self._picked is None:
            return super().row(walk, dataset)
        picked, self._picked = self._picked, None
        self.visits[picked] += 1
        return Draw(dataset, int(self.rows[picked][1]), int(self.visits[picked]) - 1)

    def place_of(self, dataset: int, row: int) -> int:
        """The place of a dataset's row."""
        return self._firsts[dataset] + row

    def column(self, name: str) -> list[Any]:
        """A column's value at each place. Raises UserError where no row has one."""
        values: list[Any] = []
        for i, pool in enumerate(self.pools):
            if pool.use == "demonstrations":
                continue
            if name == "dataset":
                values += [pool.name or f"train.{i}"] * pool.size
            else:
                values += pool.column(name) if pool.column is not None else [None] * pool.size
        if all(value is None for value in values):
            raise UserError(
                f"data.sampler.column: no row of data.train has a column '{name}', nor its target; `task` and "
                "`dataset` are there always"
            )
        return values

    def places_by(self, column: str) -> dict[str, list[int]]:
        """Each value of a column, as text and in the order in which the values first stand, and its places."""
        places: dict[str, list[int]] = {}
        for place, value in enumerate(self.column(column)):
            places.setdefault(str(value), []).append(place)
        return places

    def shuffled(self, turn: int, size: int, walk: tuple[int, ...] = (), behind: tuple[int, ...] = ()) -> int:
        """The member that turn number `turn`, from 0, has of `size`: each once per epoch, in a new order each epoch.

        Args:
            walk: whose turns they are, where a sampler counts those of several.
            behind: ends the key of the order's chance, which begins with walk and epoch.
        """
        epoch, position = divmod(turn, size)
        order = self._shuffled.get(walk)
        if order is None or order.epoch != epoch:
            order = self._shuffled[walk] = Order(epoch, self.random(*walk, epoch, *behind).permutation(size))
        return int(order.rows[position])

    def random(self, *key: int) -> np.random.Generator:
        """Chance of its own for a draw."""
        return self._rng("all", 2**31, *key)

    @property
    def epochs(self) -> list[float]:
        """See `Sampler.epochs`: rollouts count by draws per row, demonstrations by passes."""
        passes = super().epochs
        ends = self._firsts[1:]
        drawn = [self.visits[a:b].sum() / max(1, b - a) for a, b in zip(self._firsts, ends)]
        return [max(float(a), float(b)) for a, b in zip(passes, drawn, strict=True)]

    def figures(self) -> dict[str, float]:
        """See `Sampler.figures`."""
        return {"seen": float((self.visits > 0).mean())} if len(self.rows) else {}

    def learned(self) -> dict[str, Any]:
        """What it has learned, as JSON has it."""
        return {}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """Takes what `learned` gave."""

    def state_dict(self) -> dict[str, Any]:
        """See `Sampler.state_dict`."""
        seen = np.flatnonzero(self.visits)
        visits = {str(place): int(self.visits[place]) for place in seen}
        return {**super().state_dict(), "visits": visits, "learned": self.learned()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Sampler.load_state_dict`."""
        super().load_state_dict(state)
        visits = np.zeros(len(self.rows), np.int64)
        for place, count in state["visits"].items():
            if not 0 <= int(place) < len(visits):
                raise CheckpointError(f"the checkpoint's place in the data is damaged: row {place} of {len(visits)}")
            visits[int(place)] = count
        self.visits, self._picked = visits, None
        self.recall(state["learned"])
