"""Normalisation statistics of robot checkpoints: `norm_stats` of config.json and `dataset_statistics.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.errors import CheckpointError, ConfigError, unknown
from mmrl.data.robot.statistics import FILE


@dataclass(frozen=True, slots=True)
class Bounds:
    """Quantiles that are mapped to -1 and 1.

    Attributes:
        low_A, high_A: float64 [A], the 1st and 99th percentile of each dimension over the demonstrations.
        mask_A: bool [A], false on dimensions that are used as they are (a gripper in {0, 1} or {-1, 1}).
    """

    low_A: Tensor
    high_A: Tensor
    mask_A: Tensor

    def normalise(self, values: Tensor) -> Tensor:
        """float64 [..., A] in [-1, 1]: 2 (x - q01) / (q99 - q01) - 1, clipped; masked dimensions only clipped."""
        values = values.double()
        # 1e-8 as in the published code: a dimension that never moves has q01 = q99.
        scaled = 2 * (values - self.low_A) / (self.high_A - self.low_A + 1e-8) - 1
        return torch.where(self.mask_A, scaled, values).clamp(-1.0, 1.0)

    def restore(self, values: Tensor) -> Tensor:
        """float64 [..., A]: (x + 1) / 2 (q99 - q01) + q01; masked dimensions as they are."""
        values = values.double()
        scaled = 0.5 * (values + 1) * (self.high_A - self.low_A) + self.low_A
        return torch.where(self.mask_A, scaled, values)


def read_statistics(norm_stats: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """dataset -> {"action" | "proprio" -> {q01, q99, mask, …}}; the file's entries win over config.json's.

    Raises:
        CheckpointError: the file is not JSON.
    """
    statistics = dict(norm_stats or {})
    path = folder / FILE
    if path.is_file():
        try:
            statistics |= json.loads(path.read_text())
        except (ValueError, OSError) as error:
            raise CheckpointError(f"policy.path: '{path}' cannot be read: {error}; copy it again") from None
    return statistics


def choose(statistics: Mapping[str, Any], key: str | None) -> str:
    """The dataset whose statistics apply: `key`, or the only one.

    Raises:
        ConfigError: none there, several and no key, or an unknown key.
    """
    if not statistics:
        raise ConfigError(
            "policy.path: the checkpoint holds no normalisation statistics (norm_stats in config.json, or "
            f"{FILE}); copy {FILE} beside it, or have them computed: recorded demonstrations do so, and "
            "data.train.N.statistics on episodes of a scripted expert"
        )
    if key is None and len(statistics) > 1:
        raise ConfigError(
            "policy.params.statistics is unset, and the checkpoint has several; set it to that of this robot. "
            f"Allowed: {', '.join(sorted(statistics))}"
        )
    key = key or next(iter(statistics))
    if key not in statistics and f"{key}_no_noops" in statistics:
        key = f"{key}_no_noops"
    if key not in statistics:
        raise ConfigError(f"policy.params.statistics: {unknown('dataset', key, statistics)}")
    return key


def cure_of_sizes(family: str, part: str, size: int) -> str:
    """What to do about actions or states of another size than the statistics'.

    Args:
        family: of `mmrl tiny`.
        part: `action` or `state`.
    """
    return (
        "set policy.params.statistics to a dataset of this robot (recorded actions in data.train are one, and so are "
        "episodes with statistics: 64, the scripted expert's), or make a checkpoint of its sizes: "
        f"mmrl tiny {family} DIR --{part}-dim {size}"
    )


def bounds(statistics: Mapping[str, Any], key: str, kind: str) -> Bounds:
    """The bounds of one dataset's `action` or `proprio`.

    Raises:
        ConfigError: the entry lacks them, or they differ in length.
    """
    entry = statistics[key].get(kind)
    where = f"normalisation statistics '{key}', entry '{kind}'"
    if entry is None or "q01" not in entry or "q99" not in entry:
        raise ConfigError(f"{where}: q01 and q99 are missing; complete {FILE} beside the checkpoint")
    low, high = (torch.tensor(entry[name], dtype=torch.float64).flatten() for name in ("q01", "q99"))
    mask = torch.tensor(entry.get("mask", [True] * len(low)), dtype=torch.bool).flatten()
    if not len(low) == len(high) == len(mask):
        raise ConfigError(
            f"{where}: q01, q99 and mask have {len(low)}, {len(high)} and {len(mask)} values; they must be as many"
        )
    return Bounds(low, high, mask)
