"""omega, weights of units. Every function takes `Units` and its settings and returns omega [R, U], detached.

`mmrl.recipe.unit_weights` has the names, parameters and sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrl.objectives.coefficients import Units, at_level, ratio
from mmrl.objectives.seen import Seen
from mmrl.recipe import unit_weights as settings


def behaviour(units: Units, own: settings.Behaviour) -> Tensor:
    """rho between the bounds, or 0 or 1 by them."""
    sampled = units.old_RU if units.behaviour_RU is None else units.behaviour_RU
    rho = ratio(*(at_level(x, units.mask_RU, own.level) for x in (units.old_RU, sampled)))
    if own.form == "truncate":
        return rho.clamp(own.low, own.high)
    within = (rho >= own.low) & (rho <= own.high)
    return torch.where(within, rho if own.form == "mask" else torch.ones_like(rho), torch.zeros_like(rho))


def sequence_mask(units: Units, own: settings.SequenceMask) -> Tensor:
    """0 where A < 0 and the row's mean of log pi_old - log pi is above the threshold."""
    moved = at_level(units.old_RU - units.log_probs_RU, units.mask_RU, "mean")
    return 1 - ((units.advantage_RU < 0) & (moved > own.threshold)).to(moved.dtype)


def first_unit(units: Units, own: settings.FirstUnit) -> Tensor:
    """weight x T at the first unit that is learned, T / (T - 1) at the others."""
    mask = units.mask_RU.to(units.log_probs_RU.dtype)
    count = mask.sum(1, keepdim=True)
    first = units.mask_RU & (units.mask_RU.cumsum(1) == 1)
    return torch.where(first, own.weight * count, count / (count - 1).clamp(min=1))


def chosen(units: Units, own: settings.UnitWeightSettings) -> Tensor:
    """What `prepare` gave each unit."""
    # As wide as the step's longest row, and the micro-batch may be narrower.
    return units.prepared(own)[:, : units.log_probs_RU.shape[1]]


def mark_top_entropy(rows: Sequence[Seen], own: settings.TopEntropy) -> list[Tensor]:
    """1 at the share of all units with the highest entropy; at least one unit, and those that equal the last."""
    everything = torch.cat([row.entropy_U for row in rows])
    count = max(1, round(own.share * len(everything)))
    least = everything.topk(count).values[-1]
    return [(row.entropy_U >= least).to(row.entropy_U.dtype) for row in rows]


def scale_by_entropy(rows: Sequence[Seen], own: settings.EntropyScale) -> list[Tensor]:
    """scale x exp(slope H) at each unit."""
    return [own.scale * (own.slope * row.entropy_U).exp() for row in rows]
