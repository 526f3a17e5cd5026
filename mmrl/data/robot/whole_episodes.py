"""Recorded episodes as whole demonstrations, for methods that learn from what each action earned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import overload

from mmrl.contracts.types import Sample
from mmrl.data.robot.rows import RobotRows
from mmrl.data.rows import Rows


class WholeEpisodes(Rows):
    """A sample for each recorded episode; its `steps` are the samples of every `chunk`-th kept step."""

    def __init__(self, rows: RobotRows):
        self.rows, self.name = rows, rows.name

    def __len__(self) -> int:
        return len(self.rows.episodes)

    def _row(self, row: int) -> Sample:
        first, end = self.rows.span(row)
        return Sample(
            id=f"{self.name}/{self.rows.episodes[row].number}",
            messages=(),
            task=self.name,
            target={},
            dataset=self.name,
            row=row,
            steps=Steps(self.rows, range(first, end, self.rows.config.chunk)),
        )


class Steps(Sequence[Sample]):
    """Some rows of a dataset, each read when it is asked for."""

    def __init__(self, rows: RobotRows, numbers: range):
        self.rows, self.numbers = rows, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Steps: ...

    def __getitem__(self, index: int | slice) -> Sample | Steps:
        if isinstance(index, slice):
            return Steps(self.rows, self.numbers[index])
        return replace(self.rows[self.numbers[index]], budgets=self.rows.config.budgets)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))
