"""The contract of samplers: what draws the next rows of a mixture, and may learn from what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from numpy import ndarray

# Rollouts and demonstrations are walked apart, so that neither thins out the other.
Walk = Literal["all", "demonstrations"]
WALKS: tuple[Walk, ...] = ("all", "demonstrations")


@dataclass(frozen=True, slots=True)
class Pool:
    """What a sampler is told of one dataset.

    Attributes:
        name: of the dataset, or "".
        size: its rows, at least one.
        weight: its share of the draws, relative to the others'.
        use: `all`, or the one kind of draw that it takes part in: `rollouts` or `demonstrations`.
        column: gives a column's value of each row, None where a row has none; it reads them all. None: there are no
            columns to read.
        features: gives float64 [F] of each of these rows, what the policy as it is now makes of the row's prompt; None
            of a row that is bad, which is told when it is drawn. None: no policy gives any.
    """

    name: str
    size: int
    weight: float = 1.0
    use: str = "all"
    column: Callable[[str], Sequence[Any]] | None = None
    features: Callable[[Sequence[int]], Sequence[ndarray | None]] | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """One row.

    Attributes:
        dataset: its place among the pools.
        row: 0 <= row < size of the dataset.
        epoch: passes over the dataset before this draw; augmentation is drawn by it.
    """

    dataset: int
    row: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one drawn sample, all its trajectories together.

    Attributes:
        dataset: its place among the pools.
        row: in that dataset.
        accuracies: of each trajectory, in [0, 1].
        rewards: of each trajectory.
        lengths: likelihood units of each trajectory.
        version: optimizer steps taken when the group was sampled.
    """

    dataset: int
    row: int
    accuracies: tuple[float, ...]
    rewards: tuple[float, ...]
    lengths: tuple[int, ...]
    version: int


class Sampler(Protocol):
    """Draws rows. Made as `adapter(pools, seed, settings)`; the same state gives the same draws.

    One that reads features draws by the policy too: the same state and weights give the same draws. It says so with an
    attribute `foresees`, False, and nothing is then read ahead of its draws.
    """

    @property
    def epochs(self) -> Sequence[float]:
        """Passes over each dataset so far, fractions included."""

    def choose(self, walk: Walk) -> int | None:
        """The dataset of the next draw; None where no dataset is left in this walk."""

    def row(self, walk: Walk, dataset: int) -> Draw:
        """The next row of a dataset: asked again where a row was bad, or holds no demonstration."""

    def drop(self, walk: Walk, dataset: int) -> bool:
        """Takes a dataset out of a walk, for it gives nothing there; False where it is the last one, and stays."""

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Learns from a step's outcomes."""

    def figures(self) -> Mapping[str, float]:
        """What it draws by now, for the log, as `sampler/<figure>`; empty where there is nothing to say."""

    def state_dict(self) -> dict[str, Any]:
        """The place in every walk, as JSON-serialisable values. Looking ahead takes it and puts it back."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues exactly where `state_dict` was taken. Raises CheckpointError where it is of other datasets."""
