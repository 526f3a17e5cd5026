"""Rows of an optimizer step as parts see them that look at all of it (`mmrl.objectives.preparing`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """One row of a stream.

    Attributes:
        log_probs_U: [U] under the current policy.
        old_U: [U] before the first update of the batch, the current ones where there was none.
        behaviour_U: [U] under what sampled it, or `old_U`.
        reference_U: [U] under the reference policy, or None.
        entropy_U: [U] nats, of the current policy; None of policies that give none.
        advantage: of the row, or [U] of each unit.
        trajectory: index in the step; decisions of one trajectory share it.
        group: index of its group.
        success: see `Row.success`.
        companions: [U] under companion policies, by their names.
        learned: how many of the units have a loss; None: all. Log-probs of the others are the current ones everywhere,
            so that no ratio is made of them.
    """

    log_probs_U: Tensor
    old_U: Tensor
    behaviour_U: Tensor
    reference_U: Tensor | None
    entropy_U: Tensor | None
    advantage: float | Tensor
    trajectory: int
    group: int
    success: float | None
    companions: Mapping[str, Tensor] = field(default_factory=dict)
    learned: int | None = None

    @property
    def units(self) -> int:
        """Units that have a loss."""
        return len(self.log_probs_U) if self.learned is None else self.learned
