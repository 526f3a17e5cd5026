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
# A spread below this share of the values themselves is rounding of float32, whose step is 1.2e-7 of a value.
ROUNDING = 1e-6


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

    A dimension of the state that never moved in the data is shifted and no more: the published divisor would make 1e6
    and more of a gripper that closes for the first time.

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
    spread = second if kind == "mean_std" else second - first
    scale = spread + EPSILON[kind]
    if kind == "quantiles":
        scale = scale / 2
    if part == "proprio":
        scale = scale.where(~_constant(entry, first, spread), 1.0)
    return Rescaling(first if kind == "mean_std" else first + scale, scale)


def _constant(entry: Mapping[str, Any], middle: Tensor, spread: Tensor) -> Tensor:
    """bool [A]: dimensions that never moved, by their bounds where both are known, else by a spread that is rounding.

    lerobot's deviation of such a dimension is some 1e-8, not 0.
    """
    bounds = [torch.tensor(entry[name], dtype=torch.float64).flatten() for name in ("min", "max") if name in entry]
    if len(bounds) == 2 and all(len(bound) == len(middle) for bound in bounds):
        return bounds[0] == bounds[1]
    return spread <= ROUNDING * middle.abs()
