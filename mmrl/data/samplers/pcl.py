"""PCL: prompts near a target by a value that is learned on the policy's hidden state of them (arXiv 2510.01135)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmrl.contracts.sampler import Outcome, Pool
from mmrl.data.samplers.predicted import Predicted
from mmrl.data.samplers.ridge import Ridge
from mmrl.recipe.samplers import PclSettings


class Pcl(Predicted[PclSettings]):
    """See `PclSettings`.

    The value V is linear in the hidden state (`Ridge`), learned of each step's rows and their pass rates with the
    weights after the step. The paper's is a model of its own. Of the next candidates of the walk by chance those of
    smallest |V - target| are drawn, nearest first, until a step is over or they are used up.
    """

    def __init__(self, pools: Sequence[Pool], seed: int, settings: PclSettings):
        super().__init__(pools, seed, settings)
        self.value = Ridge(settings.ridge, settings.decay)
        # (place, value), the nearest first.
        self.queue: list[tuple[int, float]] = []
        self._projections: dict[int, np.ndarray] = {}

    @property
    def explore(self) -> float:
        """See `Predicted.explore`."""
        return self.settings.explore

    def choose_place(self, draw: int) -> int | None:
        """See `Predicted.choose_place`."""
        if not self.value.rows:
            return None
        if not self.queue:
            self.queue = self._fill()
        if not self.queue:
            return None
        place, value = self.queue.pop(0)
        self.expected[place] = value
        return place

    def _fill(self) -> list[tuple[int, float]]:
        """The candidates that may be drawn; none where each of them is bad."""
        candidates, settings = self.candidates(self.settings.candidates), self.settings
        known = self._projected(candidates)
        if not known:
            return []
        values = self.value.predict(np.stack(list(known.values())))
        # Values beyond 0 and 1 stand farther from the target than those.
        order = np.argsort(np.abs(values - settings.target), kind="stable")
        places = list(known)
        near = order[: max(1, round(settings.keep * len(candidates)))]
        return [(places[i], float(np.clip(values[i], 0.0, 1.0))) for i in near]

    def _projected(self, places: Sequence[int]) -> dict[int, np.ndarray]:
        """Place -> float64 [width]; narrower features as they are."""
        return {place: self._project(features_F) for place, features_F in self.features(places).items()}

    def _project(self, features_F: np.ndarray) -> np.ndarray:
        size, width = len(features_F), self.settings.width
        if size <= width:
            return features_F
        if size not in self._projections:
            directions_FW = self.random(2**31, size).standard_normal((size, width))
            self._projections[size] = directions_FW / np.sqrt(width)
        return features_F @ self._projections[size]

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """See `Sampler.update`. What waits to be drawn was valued by other weights, and is forgotten."""
        rates = self.rates(outcomes)
        self.judge(rates)
        self.queue = []
        known = self._projected(list(rates)) if rates else {}
        if known:
            self.value.learn(np.stack(list(known.values())), [rates[place] for place in known])

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        return {**super().learned(), "queue": [list(pair) for pair in self.queue], "value": self.value.state_dict()}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`."""
        super().recall(learned)
        self.queue = [(int(place), float(value)) for place, value in learned["queue"]]
        self.value.load_state_dict(learned["value"])
