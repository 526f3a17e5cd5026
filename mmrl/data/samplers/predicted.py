"""The base of samplers that expect a pass rate of each prompt by what the policy makes of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar, TypeVar

import numpy as np

from mmrl.contracts.errors import UserError
from mmrl.contracts.sampler import Outcome, Pool
from mmrl.data.samplers.joint import Joint
from mmrl.recipe.samplers import PredictedSettings

Of = TypeVar("Of", bound=PredictedSettings)


class Predicted(Joint[Of]):
    """Draws by chance for a share of draws, and else what `choose_place` chooses.

    Attributes:
        turn: rows that the walk by chance has given, to draws and as candidates.
        expected: place -> the pass rate expected of what was drawn since the last step.

    Raises:
        UserError: nothing gives features.
    """

    # What it draws next depends on the weights after the step in progress.
    foresees: ClassVar[bool] = False

    def __init__(self, pools: Sequence[Pool], seed: int, settings: Of):
        super().__init__(pools, seed, settings)
        if any(pool.features is None for pool in pools if pool.use != "demonstrations"):
            raise UserError(f"data.sampler: '{settings.name}' reads the policy's hidden states, and none is given")
        self.turn = 0
        self.expected: dict[int, float] = {}
        self._estimate: float | None = None
        self._error: float | None = None

    @abstractmethod
    def choose_place(self, draw: int) -> int | None:
        """The place of a draw by the pass rate expected; None: nothing is known yet."""

    @property
    @abstractmethod
    def explore(self) -> float:
        """Share of draws by chance."""

    def pick(self, draw: int) -> int:
        """See `Joint.pick`."""
        place = None if self.random(draw, 2).random() < self.explore else self.choose_place(draw)
        return self.candidates(1)[0] if place is None else place

    def candidates(self, count: int) -> list[int]:
        """The next different places, at most `count`, each row once per epoch."""
        size = len(self.rows)
        places = dict.fromkeys(self.shuffled(self.turn + i, size) for i in range(min(count, size)))
        self.turn += min(count, size)
        return list(places)

    def features(self, places: Sequence[int]) -> dict[int, np.ndarray]:
        """Place -> float64 [F]; places of bad rows are left out."""
        by_dataset: dict[int, list[int]] = {}
        for place in places:
            by_dataset.setdefault(int(self.rows[place][0]), []).append(place)
        known: dict[int, np.ndarray] = {}
        for dataset, members in by_dataset.items():
            give = self.pools[dataset].features
            if give is not None:
                rows = [int(self.rows[place][1]) for place in members]
                known |= {p: x for p, x in zip(members, give(rows), strict=True) if x is not None}
        return {place: known[place] for place in places if place in known}

    def rates(self, outcomes: Sequence[Outcome]) -> dict[int, float]:
        """Place -> its mean pass rate in these outcomes, in the order of places whatever theirs is."""
        by_place: dict[int, list[float]] = {}
        for outcome in outcomes:
            by_place.setdefault(self.place_of(outcome.dataset, outcome.row), []).extend(outcome.accuracies)
        return {place: fmean(sorted(by_place[place])) for place in sorted(by_place)}

    def judge(self, rates: Mapping[int, float]) -> None:
        """Holds what was expected of a step's rows against what came."""
        gaps = [abs(self.expected[place] - rate) for place, rate in rates.items() if place in self.expected]
        self._error = fmean(gaps) if gaps else self._error
        self._estimate = fmean(self.expected.values()) if self.expected else self._estimate
        self.expected = {}

    def figures(self) -> dict[str, float]:
        """See `Sampler.figures`."""
        known = {"estimate": self._estimate, "error": self._error}
        return super().figures() | {name: value for name, value in known.items() if value is not None}

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        expected = {str(place): value for place, value in self.expected.items()}
        return {"turn": self.turn, "expected": expected, "estimate": self._estimate, "error": self._error}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`."""
        self.turn = int(learned["turn"])
        self.expected = {int(place): float(value) for place, value in learned["expected"].items()}
        self._estimate, self._error = learned["estimate"], learned["error"]
