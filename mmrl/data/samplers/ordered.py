"""Samplers whose order is known beforehand: by chance, as the data stand, and curricula by a column."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mmrl.contracts.errors import UserError, unknown
from mmrl.contracts.sampler import Pool
from mmrl.data.samplers.joint import Joint
from mmrl.recipe.samplers import OrderedSettings, SequentialSettings, StagedSettings, UniformSettings


class Uniform(Joint[UniformSettings]):
    """See `UniformSettings`."""

    def pick(self, draw: int) -> int:
        """See `Joint.pick`."""
        return self.shuffled(draw, len(self.rows))


class Sequential(Joint[SequentialSettings]):
    """See `SequentialSettings`."""

    def pick(self, draw: int) -> int:
        """See `Joint.pick`."""
        return draw % len(self.rows)


class Ordered(Joint[OrderedSettings]):
    """See `OrderedSettings`. Raises UserError where a row has no number in the column."""

    def __init__(self, pools: Sequence[Pool], seed: int, settings: OrderedSettings):
        super().__init__(pools, seed, settings)
        values = self.column(settings.column)
        for place, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                dataset, row = self.rows[place]
                raise UserError(
                    f"data.sampler.column: row {row} of dataset '{pools[dataset].name}' has {value!r} in column "
                    f"'{settings.column}'; rows are ordered by numbers"
                )
        numbers = -np.array(values, float) if settings.descending else np.array(values, float)
        self._order = np.argsort(numbers, kind="stable")

    def pick(self, draw: int) -> int:
        """See `Joint.pick`."""
        return int(self._order[draw % len(self._order)])


class Staged(Joint[StagedSettings]):
    """See `StagedSettings`. Raises UserError where `order` names a value that no row has."""

    def __init__(self, pools: Sequence[Pool], seed: int, settings: StagedSettings):
        super().__init__(pools, seed, settings)
        places = self.places_by(settings.column)
        order = settings.order or list(places)
        for value in order:
            if value not in places:
                raise UserError(f"data.sampler.order: {unknown(f'value of column {settings.column}', value, places)}")
        members = [places[value] for value in order]
        if settings.mixed:
            members = [[place for begun in members[: i + 1] for place in begun] for i in range(len(members))]
        self._members = [np.array(of_stage) for of_stage in members]

    def _stage(self, draw: int) -> int:
        return min(draw // self.settings.draws, len(self._members) - 1)

    def pick(self, draw: int) -> int:
        """See `Joint.pick`."""
        stage = self._stage(draw)
        members = self._members[stage]
        return int(members[self.shuffled(draw - stage * self.settings.draws, len(members), (stage,))])

    def figures(self) -> dict[str, float]:
        """See `Sampler.figures`."""
        return {**super().figures(), "stage": float(self._stage(self._places["all"].drawn))}
