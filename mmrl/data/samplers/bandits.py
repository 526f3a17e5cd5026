"""Samplers that choose a category first, by what its rows have taught, and walk its rows without replacement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any, TypeVar

import numpy as np

from mmrl.contracts.errors import UserError, unknown
from mmrl.contracts.sampler import Outcome, Pool
from mmrl.data.samplers.joint import Joint
from mmrl.recipe.samplers import BanditSettings, CategorySettings, DumpSettings, RatioSettings, SecSettings

Of = TypeVar("Of", bound=CategorySettings)
EPSILON = 1e-6


def absolute_advantages(rewards: Sequence[float], normalise: bool) -> list[float]:
    """|reward - mean| of a group, divided by its standard deviation where asked."""
    mean, spread = fmean(rewards), pstdev(rewards)
    return [abs(reward - mean) / (spread + EPSILON if normalise else 1.0) for reward in rewards]


def _advantages(outcomes: Sequence[Outcome], settings: BanditSettings) -> list[float]:
    """`absolute_advantages` of every trajectory, each within its group."""
    return [a for outcome in outcomes for a in absolute_advantages(outcome.rewards, settings.normalise)]


class Categories(Joint[Of]):
    """Rows by category; how often each was drawn is part of the state."""

    def __init__(self, pools: Sequence[Pool], seed: int, settings: Of):
        super().__init__(pools, seed, settings)
        places = self.places_by(settings.column)
        self.names = list(places)
        self._members = [np.array(of_category) for of_category in places.values()]
        self.category = np.empty(len(self.rows), np.int64)
        for category, members in enumerate(self._members):
            self.category[members] = category
        self.drawn = [0] * len(self.names)

    def shares(self) -> np.ndarray:
        """float64 [C], the chance of each category at the next draw."""
        raise NotImplementedError

    def choose_category(self, draw: int) -> int:
        """The category of a draw."""
        edges = np.cumsum(self.shares())
        chance = self.random(draw).random() * edges[-1]
        return min(int(np.searchsorted(edges, chance, side="right")), len(self.names) - 1)

    def pick(self, draw: int) -> int:
        """See `Joint.pick`."""
        category = self.choose_category(draw)
        members = self._members[category]
        member = self.shuffled(self.drawn[category], len(members), (1 + category,), (0,))
        self.drawn[category] += 1
        return int(members[member])

    def by_category(self, outcomes: Sequence[Outcome]) -> dict[int, list[Outcome]]:
        """The outcomes of each category that has some."""
        sorted_out: dict[int, list[Outcome]] = {}
        for outcome in outcomes:
            place = self.place_of(outcome.dataset, outcome.row)
            sorted_out.setdefault(int(self.category[place]), []).append(outcome)
        return sorted_out

    def figures(self) -> dict[str, float]:
        """See `Sampler.figures`."""
        shares = self.shares()
        of_each = {f"share/{name}": float(share / shares.sum()) for name, share in zip(self.names, shares)}
        return {**super().figures(), **of_each}

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        return {"names": self.names, "drawn": list(self.drawn)}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`. Raises ValueError where the categories are others."""
        if learned["names"] != self.names:
            raise ValueError(f"its categories are {learned['names']}, and the data's are {self.names}")
        self.drawn = [int(count) for count in learned["drawn"]]


def softmax(values: Sequence[float], temperature: float) -> np.ndarray:
    """float64 [C], exp(value / temperature), scaled to 1 in all."""
    scaled = np.array(values, float) / temperature
    powers = np.exp(scaled - scaled.max())
    return powers / powers.sum()


class Sec(Categories[SecSettings]):
    """See `SecSettings`. Values begin at 0: Q <- (1 - rate) Q + rate r, r the mean |A| of the category's step."""

    def __init__(self, pools: Sequence[Pool], seed: int, settings: SecSettings):
        super().__init__(pools, seed, settings)
        self.values = [0.0] * len(self.names)

    def shares(self) -> np.ndarray:
        """See `Categories.shares`."""
        return softmax(self.values, self.settings.temperature)

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """See `Sampler.update`."""
        rate = self.settings.rate
        for category, members in self.by_category(outcomes).items():
            mean = fmean(_advantages(members, self.settings))
            self.values[category] = (1 - rate) * self.values[category] + rate * mean

    def figures(self) -> dict[str, float]:
        """See `Sampler.figures`."""
        return super().figures() | {f"value/{name}": value for name, value in zip(self.names, self.values)}

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        return {**super().learned(), "values": list(self.values)}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`."""
        super().recall(learned)
        self.values = [float(value) for value in learned["values"]]


class Dump(Categories[DumpSettings]):
    """See `DumpSettings`. Bound: mean of the window + sqrt(2 ln(n + 1) / (n_c + 1)), n_c of n draws."""

    def __init__(self, pools: Sequence[Pool], seed: int, settings: DumpSettings):
        super().__init__(pools, seed, settings)
        self.windows: list[list[float]] = [[] for _ in self.names]

    def bounds(self) -> list[float]:
        """The upper confidence bound of each category."""
        total = sum(self.drawn)
        spread = [np.sqrt(2 * np.log(total + 1) / (count + 1)) for count in self.drawn]
        return [(fmean(window) if window else 0.0) + float(s) for window, s in zip(self.windows, spread)]

    def shares(self) -> np.ndarray:
        """See `Categories.shares`."""
        return softmax(self.bounds(), self.settings.temperature)

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """See `Sampler.update`."""
        settings = self.settings
        for category, members in self.by_category(outcomes).items():
            self.windows[category] = [*self.windows[category], *_advantages(members, settings)][-settings.window :]

    def figures(self) -> dict[str, float]:
        """See `Sampler.figures`."""
        values = [fmean(window) if window else 0.0 for window in self.windows]
        return super().figures() | {f"value/{name}": value for name, value in zip(self.names, values)}

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        return {**super().learned(), "windows": [list(window) for window in self.windows]}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`."""
        super().recall(learned)
        self.windows = [[float(value) for value in window] for window in learned["windows"]]


class Ratio(Categories[RatioSettings]):
    """See `RatioSettings`. The category whose completed and pending rollouts lag most behind its share comes next.

    Raises:
        UserError: `ratios` names a category that no row has.
    """

    def __init__(self, pools: Sequence[Pool], seed: int, settings: RatioSettings):
        super().__init__(pools, seed, settings)
        for name in settings.ratios:
            if name not in self.names:
                raise UserError(f"data.sampler.ratios: {unknown('category', name, self.names)}")
        self._wanted = np.array([settings.ratios.get(name, 1.0) for name in self.names])
        self._wanted /= self._wanted.sum()
        self.completed = [0] * len(self.names)
        self.pending = [0] * len(self.names)

    def shares(self) -> np.ndarray:
        """Share of each category in what was completed; what is wanted, before anything was."""
        done = np.array(self.completed, float)
        return done / done.sum() if done.sum() else self._wanted

    def choose_category(self, draw: int) -> int:
        """See `Categories.choose_category`."""
        count = np.array(self.completed) + np.array(self.pending)
        category = int(np.argmax(self._wanted * (count.sum() + 1) - count))
        self.pending[category] += 1
        return category

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """See `Sampler.update`. What was drawn and came to nothing no longer counts."""
        for category, members in self.by_category(outcomes).items():
            self.completed[category] += len(members)
        self.pending = [0] * len(self.names)

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        return {**super().learned(), "completed": list(self.completed), "pending": list(self.pending)}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`."""
        super().recall(learned)
        self.completed, self.pending = list(learned["completed"]), list(learned["pending"])
