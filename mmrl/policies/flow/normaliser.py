"""Between a robot's units and those of a flow policy, by a dataset's statistics (see `mmrl.data.robot.statistics`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mmrl.contracts.errors import ConfigError

Kind = Literal["mean_std", "quantiles"]
# The statistics that each kind reads, and what the published code adds to the divisor.
READS = {"mean_std": ("mean", "std"), "quantiles": ("q01", "q99")}
EPSILON = {"mean_std": 1e-8, "quantiles": 1e-6}


@dataclass(frozen=True, slots=True)
class Rescaling:
    """(x - shift) / scale of each dimension, float64 [A]."""

    shift_A: Tensor
    scale_A: Tensor

    def normalise(self, values: Tensor) -> Tensor:
        """float32 [..., A]."""
        return ((values.double() - self.shift_A) / self.scale_A).float()

    def restore(self, values: Tensor) -> Tensor:
        """float32 [..., A], the inverse."""
        return (values.double() * self.scale_A + self.shift_A).float()


def make_normaliser(kind: Kind, statistics: Mapping[str, Any], key: str, part: str) -> Rescaling:
    """`mean_std`: (x - mean) / (std + 1e-8). `quantiles`: 2 (x - q01) / (q99 - q01 + 1e-6) - 1, not clipped.

    By `mean_std`, a dimension of the state that never moved in the data is centred and no more: the published divisor
    would make 1e8 of a gripper that closes for the first time.

    Args:
        statistics: dataset -> {"action" | "proprio" -> {mean, std, q01, q99, …}}.
        part: `action` or `proprio`.

    Raises:
        ConfigError: the entry lacks what `kind` reads, or has it for different numbers of dimensions.
    """
    entry, names = statistics[key].get(part) or {}, READS[kind]
    where = f"normalisation statistics '{key}', entry '{part}'"
    for name in names:
        if name not in entry:
            raise ConfigError(f"{where}: {name} is missing; complete dataset_statistics.json beside the checkpoint")
    first, second = (torch.tensor(entry[name], dtype=torch.float64).flatten() for name in names)
    if len(first) != len(second):
        raise ConfigError(f"{where}: {names[0]} has {len(first)} values and {names[1]} {len(second)}")
    if kind == "mean_std":
        scale = second + EPSILON[kind]
        return Rescaling(first, scale.where(second > 0, 1.0) if part == "proprio" else scale)
    half = (second - first + EPSILON[kind]) / 2
    return Rescaling(first + half, half)
