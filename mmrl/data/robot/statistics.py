"""Normalisation statistics of actions and states, in the layout of OpenVLA's `norm_stats`.

    {dataset: {"action": {mean, std, min, max, q01, q99, mask}, "proprio": {…, no mask}, "num_transitions": n}}

Every entry is a list of a number for each dimension.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.policy import Normalising, Policy, deltas_of

FILE = "dataset_statistics.json"
# A controller's bounds, plus what float32 and a little overshoot of a recorder make of them.
RANGE_SLACK = 1e-3

# Commands beyond so many times a simulator's range are in other units than it takes, not overshoot.
FAR = 2.0
# Share of values that a policy may clip without a word: 2 % lie outside the 1st and 99th percentile of their dimension.
CLIPPED_QUIETLY = 0.05

# Steps kept for the quantiles: 2^20 steps of 16 float32 are 64 MiB.
EXACT_STEPS = 2**20
QUANTILES = {"q01": 0.01, "q99": 0.99}


class Running:
    """Statistics of vectors that come in blocks.

    Mean, (population) std, min and max are exact for any number of vectors. Quantiles (numpy's, linear between values)
    are exact up to `exact` vectors and, beyond them, those of a uniform sample of as many, drawn with a fixed seed.
    """

    def __init__(self, exact: int = EXACT_STEPS):
        self.count, self.exact = 0, exact
        self._rng = np.random.default_rng(0)
        self._kept: list[np.ndarray] = []
        self._sample: np.ndarray | None = None

    def add(self, values_ND: np.ndarray) -> None:
        """Takes float [N, D]."""
        values = np.asarray(values_ND, dtype=np.float64)
        if not len(values):
            return
        if self.count == 0:
            self._mean, self._squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
            self._low, self._high = np.full(values.shape[1], np.inf), np.full(values.shape[1], -np.inf)
        # Chan, Golub, LeVeque 1979: two blocks' means and sums of squared deviations into one.
        total, shift = self.count + len(values), values.mean(0) - self._mean
        self._squares += ((values - values.mean(0)) ** 2).sum(0) + shift**2 * self.count * len(values) / total
        self._mean += shift * len(values) / total
        self._low, self._high = np.minimum(self._low, values.min(0)), np.maximum(self._high, values.max(0))
        self._keep(values)
        self.count = total

    def _keep(self, values: np.ndarray) -> None:
        """Algorithm R: each vector beyond the first `exact` replaces one with chance exact / (vectors so far)."""
        free = max(0, self.exact - self.count)
        self._kept.append(values[:free].astype(np.float32))
        rest = values[free:]
        if not len(rest):
            return
        if self._sample is None:
            self._sample, self._kept = np.concatenate(self._kept), []
        counts = self.count + free + np.arange(1, len(rest) + 1)
        places = self._rng.integers(0, counts)
        for place, vector in zip(places[places < self.exact], rest[places < self.exact]):
            self._sample[place] = vector

    def result(self) -> dict[str, list[float]]:
        """mean, std, min, max, q01, q99. Raises ValueError without a single vector."""
        if self.count == 0:
            raise ValueError("statistics of nothing")
        sample = self._sample if self._sample is not None else np.concatenate(self._kept)
        statistics = {
            "mean": self._mean,
            "std": np.sqrt(self._squares / self.count),
            "min": self._low,
            "max": self._high,
            **{name: np.quantile(sample.astype(np.float64), q, axis=0) for name, q in QUANTILES.items()},
        }
        return {name: values.tolist() for name, values in statistics.items()}


def compute_statistics(
    steps: Iterable[tuple[np.ndarray, np.ndarray | None]], mask: Sequence[bool], exact: int = EXACT_STEPS
) -> dict[str, Any]:
    """`action` and, where there are states, `proprio` statistics, and `num_transitions`.

    Steps with a number that is not finite count for nothing: they are bad samples, which nothing learns from.

    Args:
        steps: blocks of actions float [N, A] and states float [N, S] or None.
        mask: bool [A], dimensions of actions that are normalised.
        exact: see `Running`.

    Raises:
        ValueError: not one finite step.
    """
    actions, states = Running(exact), Running(exact)
    for actions_NA, states_NS in steps:
        sound_N = np.isfinite(actions_NA).all(1)
        if states_NS is not None:
            sound_N &= np.isfinite(states_NS).all(1)
            states.add(states_NS[sound_N])
        actions.add(actions_NA[sound_N])
    if not actions.count:
        raise ValueError("statistics of nothing: not one step with finite numbers")
    entry: dict[str, Any] = {"action": {**actions.result(), "mask": list(map(bool, mask))}}
    if states.count:
        entry["proprio"] = states.result()
    return {**entry, "num_transitions": actions.count}


def keeper_of(policy: Policy, dataset: str) -> Normalising:
    """The policy, which is to keep a dataset's statistics. Raises ConfigError where it does not act."""
    if not isinstance(policy, Normalising):
        raise ConfigError(f"policy.type '{policy.config.type}' does not act; leave dataset '{dataset}' out")
    return policy


def share_statistics(policy: Policy, datasets: Iterable[Any]) -> dict[str, Any]:
    """Gives a policy the statistics of the recorded datasets that it trains on; what it has by a name stays.

    A policy that was trained under statistics keeps them, since its outputs mean nothing under others.

    Returns:
        dataset -> {"from": "checkpoint" or "dataset", and the statistics that hold}, for the run's records.

    Raises:
        UserError: two datasets of one name with different statistics.
        ConfigError: actions that this policy cannot represent.
    """
    shared: dict[str, Any] = {}
    for rows in map(inmost, datasets):
        if not hasattr(rows, "statistics"):
            continue
        if rows.name in shared:
            raise UserError(
                f"data.train: two datasets of recorded actions are called '{rows.name}'; give each a `name`"
            )
        keeper = keeper_of(policy, rows.name)
        known = keeper.statistics.get(rows.name)
        if known is None:
            delta = deltas_of(policy)
            keeper.set_statistics(rows.name, rows.statistics(delta) if delta else rows.statistics())
        entry: Mapping[str, Any] = keeper.statistics[rows.name]
        shared[rows.name] = {"from": "dataset" if known is None else "checkpoint", **entry}
    return shared


def check_range(entry: Mapping[str, Any], key: str, policy: str) -> None:
    """Raises ConfigError unless all actions lie between -1 and 1, where a policy's bins do."""
    low, high = min(entry["action"]["min"]), max(entry["action"]["max"])
    if max(-low, high) > 1 + RANGE_SLACK:
        raise ConfigError(
            f"policy.type '{policy}' has bins from -1 to 1, and actions of dataset '{key}' run from {low:.4g} to "
            f"{high:.4g}; use policy.type openvla, which normalises them, or actions of a normalised controller"
        )


def recorded_actions(rows: Any) -> np.ndarray | None:
    """float32 [N, A]: the finite actions of a dataset of recorded episodes, inside its wrappers; None for others."""
    rows = inmost(rows)
    if not hasattr(rows, "steps"):
        return None
    actions_NA = np.concatenate([actions for actions, _ in rows.steps()])
    return actions_NA[np.isfinite(actions_NA).all(1)]


def clipped_share(actions_NA: np.ndarray, entry: Mapping[str, Any]) -> float:
    """Share of the values, of dimensions that are normalised, that clipping to q01 and q99 changes.

    Args:
        entry: the statistics that the policy follows.
    """
    limits = entry["action"]
    low_A, high_A = (np.asarray(limits[name], dtype=np.float64) for name in QUANTILES)
    mask_A = np.asarray(limits.get("mask", [True] * len(low_A)), dtype=bool)
    # What one bin of 256 cannot tell apart is not lost.
    slack_A = (high_A - low_A) / 256 + 1e-6
    outside_NA = (actions_NA < low_A - slack_A) | (actions_NA > high_A + slack_A)
    return float(outside_NA[:, mask_A].mean()) if mask_A.any() else 0.0


def far_outside(actions_NA: np.ndarray, dataset: str) -> str | None:
    """What is wrong with commands of which more than 1 in 100 lies far outside a simulator's range; None: nothing."""
    low_A, high_A = (np.quantile(actions_NA, q, axis=0) for q in QUANTILES.values())
    far_A = np.maximum(-low_A, high_A)
    dim = int(far_A.argmax())
    if far_A[dim] <= FAR:
        return None
    share = float((np.abs(actions_NA) > 1.0 + RANGE_SLACK).mean())
    return (
        f"dataset '{dataset}': simulators take actions from -1 to 1, and dimension {dim} runs from {low_A[dim]:.4g} to "
        f"{high_A[dim]:.4g} (1st and 99th percentile); {share:.0%} of the values would be cut there. Convert them to "
        "the simulator's units, or evaluate in one that takes these"
    )


def save_statistics(statistics: Mapping[str, Any], folder: Path) -> None:
    """Writes `dataset_statistics.json`."""
    (folder / FILE).write_text(json.dumps(statistics, indent=1))


def inmost(rows: Any) -> Any:
    """The dataset itself, without the wrappers that cut it or give it budgets."""
    while not hasattr(rows, "statistics") and hasattr(rows, "rows"):
        rows = rows.rows
    return rows
