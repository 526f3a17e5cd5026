"""Trajectories as reward transforms and advantages see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mmrl.contracts.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Scored:
    """One trajectory of a group.

    Attributes:
        reward: its reward, or its accuracy where the advantage asks for that, as far as transforms have changed it.
        parts: named reward parts; None where one does not apply.
        accuracy: the task's own figure; None where nothing has measured it.
        units: likelihood units.
        limit: the units it could have had, `rollout.max_new_tokens`; no limit of episodes.
        truncated: cut by a limit.
        demonstrated: it is a demonstration that stands in the group.
        charges: float64 [units], what KL has taken off `reward` at each unit; None: nothing.
        contextual: it was sampled under a context that the others of its group were not sampled under.
        pool: what all answers earned of which the group was chosen; empty: the group is all that was sampled.
    """

    reward: float
    parts: Mapping[str, float | None] = field(default_factory=dict)
    accuracy: float | None = None
    units: int = 0
    limit: int = 0
    truncated: bool = False
    demonstrated: bool = False
    charges: Tensor | None = None
    contextual: bool = False
    pool: tuple[float, ...] = ()

    def measured(self, reader: str) -> float:
        """The accuracy, for a part of the objective that reads it.

        Raises:
            ConfigError: nothing has measured it.
        """
        if self.accuracy is None:
            raise ConfigError(f"objective.{reader} reads accuracy, and none is measured")
        return self.accuracy


Groups = Sequence[Sequence[Scored]]
