"""Weights of a mixture searched over short runs: a design of runs, a surrogate of their figure, and its proposal.

Source of the idea: MoDoMoDo (arXiv 2505.24871), whose surrogate is quadratic too; the design is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmrl.contracts.errors import UserError

# Points among which a design and a proposal choose.
CANDIDATES = 4096
# Of the quadratic terms, so that few runs leave them near 0.
RIDGE = 1e-3


def design(datasets: int, runs: int, seed: int = 0) -> np.ndarray:
    """float64 [N, D], weights of each run, each row with the sum 1: all alike, each dataset for most, then far ones.

    Raises:
        UserError: fewer than 2 datasets, or too few runs to tell them apart.
    """
    if datasets < 2:
        raise UserError("a mixture needs at least 2 training datasets")
    if runs < datasets + 1:
        raise UserError(f"--runs: {runs} runs cannot tell {datasets} datasets apart; give {datasets + 1} or more")
    even = np.full(datasets, 1.0 / datasets)
    leaning = 0.5 * even + 0.5 * np.eye(datasets)
    chosen = [even, *leaning]
    candidates = np.random.default_rng(seed).dirichlet(np.ones(datasets), CANDIDATES)
    while len(chosen) < runs:
        # The one whose nearest neighbour is farthest.
        gaps = np.linalg.norm(candidates[:, None] - np.array(chosen)[None], axis=2).min(1)
        chosen.append(candidates[int(gaps.argmax())])
    return np.array(chosen)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a surrogate of runs says.

    Attributes:
        weights: float64 [D], of the mixture that is best by the surrogate; they sum to 1.
        figure: what it gives there.
        error: root mean square of its errors at each run, fitted without that run.
        spread: standard deviation of the runs' figures: no better than it, the surrogate says nothing.
    """

    weights: np.ndarray
    figure: float
    error: float
    spread: float

    @property
    def tells(self) -> bool:
        """Whether the surrogate predicts a run that it has not seen better than the mean does."""
        return self.error < self.spread


def _terms(weights_ND: np.ndarray) -> np.ndarray:
    """Scheffe's quadratic over the simplex: the weights, and the products of each two."""
    count = weights_ND.shape[1]
    first, second = np.triu_indices(count, 1)
    return np.concatenate([weights_ND, weights_ND[:, first] * weights_ND[:, second]], 1)


def _fit(weights_ND: np.ndarray, figures_N: np.ndarray) -> np.ndarray:
    terms = _terms(weights_ND)
    penalty = RIDGE * np.diag([0.0] * weights_ND.shape[1] + [1.0] * (terms.shape[1] - weights_ND.shape[1]))
    return np.linalg.lstsq(terms.T @ terms + penalty, terms.T @ figures_N, rcond=None)[0]


def propose(weights_ND: np.ndarray, figures_N: np.ndarray, seed: int = 0) -> Proposal:
    """The best mixture by a quadratic surrogate, not nearer to a corner than a run was.

    Args:
        weights_ND: float64, of each run; any positive numbers.
        figures_N: what each came to; higher is better.

    Raises:
        UserError: too few runs, or all with the same weights.
    """
    weights_ND = weights_ND / weights_ND.sum(1, keepdims=True)
    runs, datasets = weights_ND.shape
    if runs < datasets + 1:
        raise UserError(f"{runs} runs cannot tell {datasets} datasets apart; {datasets + 1} or more are needed")
    if np.ptp(weights_ND, axis=0).max() < 1e-9:
        raise UserError("all runs have the same weights, so nothing can be told of others; see `mmrl mix design`")
    coefficients = _fit(weights_ND, figures_N)
    misses = []
    for i in range(runs):
        others = np.arange(runs) != i
        misses.append(figures_N[i] - (_terms(weights_ND[i : i + 1]) @ _fit(weights_ND[others], figures_N[others]))[0])
    low, high = weights_ND.min(0), weights_ND.max(0)
    drawn = np.random.default_rng(seed).dirichlet(np.ones(datasets), CANDIDATES)
    inside = drawn[((drawn >= low) & (drawn <= high)).all(1)]
    candidates = np.concatenate([weights_ND, inside])
    predicted = _terms(candidates) @ coefficients
    best = int(predicted.argmax())
    error = float(np.sqrt(np.mean(np.square(misses))))
    return Proposal(candidates[best], float(predicted[best]), error, float(figures_N.std()))
