"""A linear value learned as rows come: ridge regression whose past fades, from sums alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Variance below which a feature says nothing, relative to its mean square.
FLAT = 1e-10


class Ridge:
    """Predicts a value of features by weighted least squares, each feature counted in its standard deviations.

    With weights ω over the rows so far and n = Σ ω, it minimises Σ ω (y - ȳ - w·z)² + ridge |w|², z the features less
    their mean, over their deviation. All of it follows from S = Σ ω u uᵀ and t = Σ ω y u with u = (1, x).

    Args:
        ridge: in rows.
        decay: each `learn` first scales the weights of what was learned before.
    """

    def __init__(self, ridge: float, decay: float):
        self.ridge, self.decay = ridge, decay
        self.moments_UU = np.zeros((0, 0))
        self.products_U = np.zeros(0)
        self._fitted: tuple[float, np.ndarray, np.ndarray] | None = None

    @property
    def rows(self) -> float:
        """n, the weight of all rows."""
        return float(self.moments_UU[0, 0]) if len(self.moments_UU) else 0.0

    def learn(self, features_RF: np.ndarray, values_R: Sequence[float]) -> None:
        """Takes rows; their order decides only how sums are rounded."""
        if not len(features_RF):
            return
        rows_RU = np.concatenate([np.ones((len(features_RF), 1)), features_RF], 1)
        size = rows_RU.shape[1]
        if len(self.moments_UU) != size:
            self.moments_UU, self.products_U = np.zeros((size, size)), np.zeros(size)
        self.moments_UU = self.decay * self.moments_UU + rows_RU.T @ rows_RU
        self.products_U = self.decay * self.products_U + rows_RU.T @ np.asarray(values_R, float)
        self._fitted = None

    def predict(self, features_RF: np.ndarray) -> np.ndarray:
        """float64 [R]; a row's value depends on no other row."""
        if self._fitted is None:
            self._fitted = self._fit()
        mean, centre_F, slope_F = self._fitted
        return mean + ((features_RF - centre_F) * slope_F).sum(1)

    def _fit(self) -> tuple[float, np.ndarray, np.ndarray]:
        n = self.rows
        if n == 0:
            raise ValueError("nothing was learned, so nothing can be predicted")
        mean, centre_F = self.products_U[0] / n, self.moments_UU[0, 1:] / n
        squares_F = np.diag(self.moments_UU)[1:] / n
        covariance_FF = self.moments_UU[1:, 1:] / n - np.outer(centre_F, centre_F)
        variance_F = np.diag(covariance_FF)
        telling = variance_F > FLAT * np.maximum(squares_F, FLAT)
        slope_F = np.zeros(len(centre_F))
        if telling.any():
            deviation = np.sqrt(variance_F[telling])
            correlation = covariance_FF[np.ix_(telling, telling)] / np.outer(deviation, deviation)
            shared = (self.products_U[1:][telling] / n - mean * centre_F[telling]) / deviation
            penalty = self.ridge / n * np.eye(len(deviation))
            slope_F[telling] = np.linalg.solve(correlation + penalty, shared) / deviation
        return float(mean), centre_F, slope_F

    def state_dict(self) -> dict[str, Any]:
        """The sums, as JSON has them: floats keep every bit."""
        return {"moments": self.moments_UU.tolist(), "products": self.products_U.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state_dict` was taken. Raises ValueError where the sums do not fit together."""
        products_U = np.array(state["products"], float)
        size = len(products_U)
        self.moments_UU = np.array(state["moments"], float).reshape(size, size)
        self.products_U, self._fitted = products_U, None
