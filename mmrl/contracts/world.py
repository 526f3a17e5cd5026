"""The processes that train together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class World:
    """This process among those that train together; as it stands, one process that trains alone.

    Every process runs the same program on the same samples, so each of them makes the same calls here in the same
    order. `mmrl.parallel.ranks.Ranks` is the world of several.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the run's files, and speaks."""
        return self.rank == 0

    def exchange(self, what: str, value: Any) -> list[Any]:
        """The value that each process gives, in the order of their numbers.

        Args:
            what: names the place in the program, for errors.

        Raises:
            UserError: a process has failed, has ended, or is at another place; the same error in all of them.
        """
        return [value]

    def each(
        self, what: str, jobs: Sequence[Job], do: Callable[[Job], Result], cost: Callable[[Job], float]
    ) -> list[Result]:
        """The result of every job, in order; each job is done by one process, and none has much more to do than others.

        Args:
            what: as for `exchange`.
            cost: of a job, in any unit.

        Raises:
            What a job raises, in every process.
        """
        return [do(job) for job in jobs]

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Gives each parameter the sum of all processes' gradients; one that none has a gradient of stays without."""

    def fail(self, error: BaseException) -> None:
        """Has the other processes raise this error too, where they do not know of it."""


ALONE = World()
