"""The contract of contexts: what answers are sampled under, where that differs from what they are scored under.

A context is made from its settings. It shows the engine another form of a sample (`Context`), has answers begin with
units that nobody sampled (`Begins`), or puts samples, sampled and scored alike, into another form (`Dresses`), or
several (`Rephrases`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Sample, Trajectory

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Context(Protocol):
    """Shows the engine another form of a sample than the trainer scores."""

    def shown(self, sample: Sample) -> Sample:
        """The sample as the engine sees it: other messages, pictures or system prompt; never another target."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the answers to a sample begin with.

    Attributes:
        units: int64 [K], which are continued, not resampled.
        learned: share of them that is learned like what follows, those at which the policy is least sure.
    """

    units: Tensor
    learned: float = 0.0


@runtime_checkable
class Begins(Protocol):
    """Has answers continue units that nobody sampled."""

    def begin(self, sample: Sample, policy: Policy, limit: int, progress: float, seed: int) -> Beginning:
        """What the answers to a sample begin with.

        Args:
            limit: most units of an answer; the beginning has fewer.
            progress: share of the stage that is done.
            seed: of what is drawn.

        Raises:
            BadSample: the sample has nothing to begin with, or too much.
        """


class Grades(Protocol):
    """Scores answers."""

    def score_all(self, pairs: Sequence[tuple[Trajectory, Sample]]) -> list[Trajectory]:
        """Each trajectory with its reward, in order."""


@dataclass(frozen=True, slots=True)
class Dressed:
    """A sample in the form in which it is answered and scored.

    Attributes:
        name: of the form, for the record.
        grades: rewards of this form; None: it has none.
        weight: share of the reward that they are.
    """

    sample: Sample
    name: str = ""
    grades: Grades | None = None
    weight: float = 0.0


@runtime_checkable
class Dresses(Protocol):
    """Puts samples into a form of its own, one for all answers to a draw, and demonstrations too."""

    def dress(self, sample: Sample, seed: int) -> Dressed:
        """The sample in its form.

        Args:
            seed: of what is drawn.
        """


@runtime_checkable
class Rephrases(Protocol):
    """Asks the same in several forms, to which the answers of a group are dealt in turn, sampled and scored there."""

    def forms(self, sample: Sample) -> Sequence[Sample]:
        """The sample in its forms, at least one, with the same target. Raises BadSample where it has none."""
