"""Demonstrations that go on beyond the executed chunk, for policies that predict more actions than they execute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

import torch
from torch import Tensor

from mmrl.contracts.policy import Acting
from mmrl.contracts.types import Decision


def actions_taught(policy: Acting, chunk: int) -> int:
    """Actions that a demonstration shows after each observation: the policy's horizon, or else the chunk executed."""
    return max(chunk, policy.horizon or chunk)


def look_ahead(
    decisions: Sequence[Decision], starts: Sequence[int], units: Mapping[int, Tensor], actions: int
) -> list[Decision]:
    """The decisions with the units of the next `actions` steps, or of those up to the first step that is not known.

    Args:
        starts: the step of the episode at which each decision was made.
        units: step of the episode -> the units of the action that the expert played there.
    """
    extended = []
    for decision, start in zip(decisions, starts, strict=True):
        known = takewhile(lambda unit: unit is not None, map(units.get, range(start, start + actions)))
        extended.append(replace(decision, tokens=torch.cat(list(known))))
    return extended
