"""The base of every dataset: a lazy sequence of samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from mmrl.contracts.types import Sample
from mmrl.data.targets import Shape


class Rows(Sequence[Sample]):
    """A sequence whose item i is built by `_row(i)` on access; negative indices and slices (lists) work too.

    Raises:
        IndexError: an index outside the dataset.
        BadSample: a row that cannot be used, on access of that row only.

    Attributes:
        threaded: building a row takes long, and may be done ahead of its use in threads, several rows at once.
    """

    threaded = False

    def shape_targets(self, shape: Shape) -> None:
        """From now on `shape` makes targets of plain answers; for datasets that have any."""
        return

    @abstractmethod
    def _row(self, row: int) -> Sample:
        """Builds row 0 <= row < len(self)."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self._row(row) for row in range(*index.indices(len(self)))]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._row(row)
