"""Who does what: jobs dealt to processes by their cost."""

from __future__ import annotations

from collections.abc import Sequence


def deal(costs: Sequence[float], size: int) -> list[int]:
    """The process that does each job: the dearest first, each to the one with the least to do so far.

    No process has more to do than 4/3 of the best that is possible (Graham 1969, longest processing time first).
    """
    loads, owners = [0.0] * size, [0] * len(costs)
    for job in sorted(range(len(costs)), key=lambda job: (-costs[job], job)):
        owner = min(range(size), key=lambda rank: (loads[rank], rank))
        owners[job] = owner
        loads[owner] += costs[job]
    return owners
