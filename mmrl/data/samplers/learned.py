"""Samplers that learn how hard each row is for the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from mmrl.contracts.errors import UserError
from mmrl.contracts.sampler import Outcome, Pool
from mmrl.data.samplers.joint import Joint
from mmrl.recipe.samplers import DifficultySettings, FilterSettings


class Difficulty(Joint[DifficultySettings]):
    """See `DifficultySettings`.

    A row's weight is max(floor, exp(-(p - target)^2 / (2 width^2))), p its expected pass rate: the exponential mean of
    those that were seen, with `decay`; before that the column's, or the target.

    Raises:
        UserError: a row has no pass rate in the column.
    """

    def __init__(self, pools: Sequence[Pool], seed: int, settings: DifficultySettings):
        super().__init__(pools, seed, settings)
        self.prior = np.full(len(self.rows), settings.target)
        if settings.column is not None:
            values = self.column(settings.column)
            for value in values:
                if not (isinstance(value, int | float) and 0 <= value <= 1):
                    raise UserError(
                        f"data.sampler.column: '{settings.column}' holds {value!r}, and pass rates are in [0, 1]"
                    )
            self.prior = np.array(values, float)
        self.known: dict[int, float] = {}
        self._edges: np.ndarray | None = None

    @property
    def estimates(self) -> np.ndarray:
        """float64 [R], the expected pass rate at each place."""
        estimates = self.prior.copy()
        for place, rate in self.known.items():
            estimates[place] = rate
        return estimates

    def pick(self, draw: int) -> int:
        """See `Joint.pick`."""
        if self._edges is None:
            settings = self.settings
            bell = np.exp(-0.5 * ((self.estimates - settings.target) / settings.width) ** 2)
            self._edges = np.cumsum(np.maximum(settings.floor, bell))
        chance = self.random(draw).random() * self._edges[-1]
        return min(int(np.searchsorted(self._edges, chance, side="right")), len(self.rows) - 1)

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """See `Sampler.update`."""
        decay = self.settings.decay
        for outcome in outcomes:
            place, rate = self.place_of(outcome.dataset, outcome.row), fmean(outcome.accuracies)
            before = self.known.get(place)
            self.known[place] = rate if before is None else decay * before + (1 - decay) * rate
        self._edges = None

    def figures(self) -> dict[str, float]:
        """See `Sampler.figures`."""
        return super().figures() | ({"estimate": fmean(self.known.values())} if self.known else {})

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        return {"known": {str(place): rate for place, rate in self.known.items()}}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`."""
        self.known, self._edges = {int(place): float(rate) for place, rate in learned["known"].items()}, None


class Filter(Joint[FilterSettings]):
    """See `FilterSettings`. Where all rows rest, the one whose rest ends first is drawn."""

    def __init__(self, pools: Sequence[Pool], seed: int, settings: FilterSettings):
        super().__init__(pools, seed, settings)
        # Place -> the first draw that may have it again.
        self.until: dict[int, int] = {}
        self.turn = 0

    def pick(self, draw: int) -> int:
        """See `Joint.pick`."""
        size = len(self.rows)
        for _ in range(size):
            place = self.shuffled(self.turn, size)
            self.turn += 1
            if self.until.get(place, 0) <= draw:
                return place
        return min(self.until, key=lambda place: (self.until[place], place))

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """See `Sampler.update`."""
        now, settings = self._places["all"].drawn, self.settings
        self.until = {place: end for place, end in self.until.items() if end > now}
        for outcome in outcomes:
            rate = fmean(outcome.accuracies)
            hopeless = settings.low is not None and rate <= settings.low
            if hopeless or (settings.high is not None and rate >= settings.high):
                self.until[self.place_of(outcome.dataset, outcome.row)] = now + settings.rest

    def figures(self) -> dict[str, float]:
        """See `Sampler.figures`."""
        now = self._places["all"].drawn
        return {**super().figures(), "resting": sum(end > now for end in self.until.values()) / max(1, len(self.rows))}

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        return {"until": {str(place): end for place, end in self.until.items()}, "turn": self.turn}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`."""
        self.until = {int(place): int(end) for place, end in learned["until"].items()}
        self.turn = int(learned["turn"])
