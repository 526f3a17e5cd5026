"""Which tokens of a packed row see which: segments, each of which sees its ancestors and its own past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens [start, end) of a row.

    Attributes:
        parent: index of the segment that they continue; None: they begin a sequence.
        reach: where the tokens of its last descendant end; `end` where it has none.
    """

    start: int
    end: int
    parent: int | None
    reach: int


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Segments of one row of tokens, one behind the other, each directly before its descendants.

    A token sees all of every ancestor of its segment and, of its own segment, itself and what came before. Answers to
    a prompt are its children; turns of a conversation are a chain, and branches of one are a tree.
    """

    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        """Tokens of the row."""
        return self.segments[-1].end if self.segments else 0

    def path(self, index: int) -> tuple[tuple[int, int], ...]:
        """(start, end) of what a segment sees, itself last; spans that touch are one."""
        spans: list[tuple[int, int]] = []
        step: int | None = index
        while step is not None:
            segment = self.segments[step]
            end = segment.end
            if spans and spans[-1][0] == end:
                end = spans.pop()[1]
            spans.append((segment.start, end))
            step = segment.parent
        return tuple(reversed(spans))


def plan_segments(lengths: Sequence[int], parents: Sequence[int | None]) -> SegmentPlan:
    """The plan of segments in the order in which they stand in the row; a length may be 0.

    Args:
        parents: the index of each segment's parent, or None.

    Raises:
        ValueError: a segment does not continue the one before it, nor an ancestor of that: with descendants directly
            behind each segment, what sees it is one span.
    """
    starts, total = [], 0
    for length in lengths:
        starts.append(total)
        total += length
    reach = [total] * len(lengths)
    path: list[int] = []
    for index, parent in enumerate(parents):
        while path and path[-1] != parent:
            reach[path.pop()] = starts[index]
        if parent is not None and not path:
            raise ValueError(f"segment {index} continues segment {parent}, which does not stand before it unbroken")
        path.append(index)
    return SegmentPlan(
        tuple(
            Segment(start, start + length, parent, end)
            for start, length, parent, end in zip(starts, lengths, parents, reach, strict=True)
        )
    )
