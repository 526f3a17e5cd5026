"""Raw rows of one source, held or read when they are asked for, each within a limit of bytes."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import BadSample
from mmrl.data.unchanged import FileStates

PROBED_ROWS = 32
# Longer ones are refused before they are held.
MOST_ROW_BYTES = 2**28
SPLIT_IT = f"at most {MOST_ROW_BYTES:,} are read: keep pictures in files, and name them in the row"


class Table(ABC):
    """Raw rows of one source; `get` may raise BadSample."""

    def __init__(self, name: str):
        self.name = name

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def get(self, row: int) -> Any:
        """Row `row`: a mapping, or whatever the file holds there."""

    def columns(self) -> set[str]:
        """Columns of the first rows."""
        names: set[str] = set()
        for row in range(min(len(self), PROBED_ROWS)):
            try:
                values = self.get(row)
            except BadSample:
                continue
            names |= set(values) if isinstance(values, dict) else set()
        return names


class JsonlTable(Table):
    """One JSON object per line; only line starts are held in memory, and of a line at most `MOST_ROW_BYTES`."""

    def __init__(self, path: Path):
        super().__init__(path.name)
        self.path, self._states = path, FileStates()
        starts, position = [], 0
        with path.open("rb") as file:
            self._states.check(path, os.fstat(file.fileno()))
            begins = True
            while line := file.readline(MOST_ROW_BYTES):
                if begins and (len(line) == MOST_ROW_BYTES or line.strip(b"\xef\xbb\xbf \t\r\n")):
                    starts.append(position)
                position += len(line)
                begins = line.endswith(b"\n")
        self._starts = np.asarray(starts, np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def get(self, row: int) -> Any:
        with self.path.open("rb") as file:
            self._states.check(self.path, os.fstat(file.fileno()))
            file.seek(int(self._starts[row]))
            line = file.readline(MOST_ROW_BYTES)
        if len(line) == MOST_ROW_BYTES:
            raise BadSample(f"{self.name} row {row}", f"the line has {MOST_ROW_BYTES:,} bytes or more; {SPLIT_IT}")
        try:
            return json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise BadSample(f"{self.name} row {row}", f"the line is not JSON: {error}") from error


class ListTable(Table):
    """Rows held in memory."""

    def __init__(self, name: str, rows: list[Any]):
        super().__init__(name)
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, row: int) -> Any:
        return self._rows[row]


class ArrowTable(Table):
    """A pyarrow table, or a `datasets` dataset in Arrow format; images stay encoded."""

    def __init__(self, name: str, table: Any, columns: Iterable[str]):
        super().__init__(name)
        self._table = table
        self._columns = set(columns)

    def __len__(self) -> int:
        return len(self._table)

    def get(self, row: int) -> Any:
        import pyarrow

        try:
            whole = isinstance(self._table, pyarrow.Table)
            part = self._table.slice(row, 1) if whole else self._table[row : row + 1]
            if part.nbytes > MOST_ROW_BYTES:
                raise BadSample(f"{self.name} row {row}", f"the row has {part.nbytes:,} bytes; {SPLIT_IT}")
            return part.to_pylist()[0]
        except (pyarrow.ArrowException, ValueError, OverflowError) as error:
            raise BadSample(f"{self.name} row {row}", f"the row cannot be read: {error}") from error

    def columns(self) -> set[str]:
        return self._columns
