"""DOTS: pass rates predicted by attention to the prompts that were answered last (arXiv 2506.05316)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmrl.contracts.sampler import Outcome, Pool
from mmrl.data.samplers.predicted import Predicted
from mmrl.recipe.samplers import DotsSettings

# Of the softmax over cosines; the one that predicts the references best, each from the others, is taken.
TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
EPSILON = 1e-12


def attention_pass_rates(queries_QF: np.ndarray, keys_KF: np.ndarray, rates_K: np.ndarray) -> np.ndarray:
    """float64 [Q], in [0, 1]: what queries are expected to have, by attention to keys with known rates.

    Features are counted in deviations from the keys' mean and scaled to length 1; a = softmax(cosine / temperature),
    p = Σ a · rate. Calibrated by d = m + s (p - p̄), s ≥ 0 by least squares over the keys, each predicted from the
    others: where that predicts nothing, s is 0 and d their mean rate m. The paper learns a map of embeddings and a
    calibration beforehand, of many prompts.

    Args:
        keys_KF: at least 2 rows.
    """
    centre_F, spread_F = keys_KF.mean(0), keys_KF.std(0)
    spread_F = np.where(spread_F > EPSILON, spread_F, np.inf)
    queries_QF, keys_KF = (_unit((rows - centre_F) / spread_F) for rows in (queries_QF, keys_KF))
    alike_KK = keys_KF @ keys_KF.T
    np.fill_diagonal(alike_KK, -np.inf)
    best = (np.inf, 0.0, 0.0, TEMPERATURES[-1])
    for temperature in TEMPERATURES:
        others_K = _attend(alike_KK, rates_K, temperature)
        centred_K = others_K - others_K.mean()
        slope = max(0.0, float(centred_K @ (rates_K - rates_K.mean()) / max(EPSILON, float(centred_K @ centred_K))))
        error = float(((rates_K - rates_K.mean() - slope * centred_K) ** 2).mean())
        best = min(best, (error, slope, float(others_K.mean()), temperature))
    _, slope, mean, temperature = best
    predicted_Q = _attend(queries_QF @ keys_KF.T, rates_K, temperature)
    return np.clip(rates_K.mean() + slope * (predicted_Q - mean), 0.0, 1.0)


def _unit(rows_RF: np.ndarray) -> np.ndarray:
    return rows_RF / np.maximum(EPSILON, np.linalg.norm(rows_RF, axis=1, keepdims=True))


def _attend(alike_QK: np.ndarray, rates_K: np.ndarray, temperature: float) -> np.ndarray:
    powers_QK = np.exp((alike_QK - alike_QK.max(1, keepdims=True)) / temperature)
    return powers_QK @ rates_K / powers_QK.sum(1)


class Dots(Predicted[DotsSettings]):
    """See `DotsSettings`. Candidates are drawn once each, by softmax(-|d - target| / temperature), until new ones come.

    The rows answered last, those of draws by chance among them, are the references, each with its latest pass rate.
    """

    def __init__(self, pools: Sequence[Pool], seed: int, settings: DotsSettings):
        super().__init__(pools, seed, settings)
        # Place -> its latest pass rate, the newest last.
        self.references: dict[int, float] = {}
        # Place -> the pass rate expected, of the candidates that were not drawn yet.
        self.pool: dict[int, float] = {}
        self.age = 0

    @property
    def explore(self) -> float:
        """See `Predicted.explore`."""
        return self.settings.explore

    def choose_place(self, draw: int) -> int | None:
        """See `Predicted.choose_place`."""
        if not self.pool or self.age >= self.settings.every:
            self.pool, self.age = self._predict(), 0
        if not self.pool:
            return None
        places = list(self.pool)
        gaps = np.abs(np.array(list(self.pool.values())) - self.settings.target)
        edges = np.cumsum(np.exp(-(gaps - gaps.min()) / self.settings.temperature))
        chance = self.random(draw, 1).random() * edges[-1]
        place = places[min(int(np.searchsorted(edges, chance, side="right")), len(places) - 1)]
        self.expected[place] = self.pool.pop(place)
        return place

    def _predict(self) -> dict[int, float]:
        """Place -> expected pass rate of the next candidates; empty where too few references are known."""
        keys = self.features(sorted(self.references))
        if len(keys) < 2:
            return {}
        queries = self.features(self.candidates(self.settings.candidates))
        if not queries:
            return {}
        rates_K = np.array([self.references[place] for place in keys])
        predicted = attention_pass_rates(np.stack(list(queries.values())), np.stack(list(keys.values())), rates_K)
        return dict(zip(queries, predicted.tolist(), strict=True))

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """See `Sampler.update`."""
        rates = self.rates(outcomes)
        self.judge(rates)
        self.age += 1
        for place, rate in rates.items():
            self.references.pop(place, None)
            self.references[place] = rate
        surplus = max(0, len(self.references) - self.settings.references)
        self.references = dict(list(self.references.items())[surplus:])

    def learned(self) -> dict[str, Any]:
        """See `Joint.learned`."""
        references = [[place, rate] for place, rate in self.references.items()]
        pool = [[place, rate] for place, rate in self.pool.items()]
        return {**super().learned(), "references": references, "pool": pool, "age": self.age}

    def recall(self, learned: Mapping[str, Any]) -> None:
        """See `Joint.recall`."""
        super().recall(learned)
        self.references = {int(place): float(rate) for place, rate in learned["references"]}
        self.pool = {int(place): float(rate) for place, rate in learned["pool"]}
        self.age = int(learned["age"])
