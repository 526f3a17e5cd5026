"""bad_samples.jsonl: each row that was skipped, once, with its path and the reason."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from mmrl.contracts.errors import BadSample
from mmrl.data.alike import Kind, kind_of, places_of
from mmrl.tracking.files import cannot_write, json_line, write_atomic
from mmrl.tracking.run_files import read_lines

# Kinds of fault named at the terminal; the file has all rows.
WARNED = 20
# What tells one bad row from another.
KEY = ("data", "dataset", "where")
LOGGER = logging.getLogger(__name__)
# What every bad sample's `where` reads like: file or dataset, row, and the row's id where it has one.
_WHERE = re.compile(r"(?P<dataset>.+) row (?P<row>\d+)(?: \(.*\))?", re.DOTALL)


class BadSamples:
    """Takes note of bad samples.

    Args:
        path: the file, to which a resumed run adds; None writes none.
        warn: called with one line for the first row of each kind of fault.
    """

    def __init__(self, path: Path | None = None, warn: Callable[[str], object] = LOGGER.warning):
        self.path, self.warn = path, warn
        self._seen: set[tuple[str, str, str]] = set()
        self._kinds: set[tuple[str, Kind]] = set()
        self._expected: dict[tuple[str, Kind], set[str]] = {}
        if path is not None and path.exists():
            entries, damaged = read_lines(path)
            if damaged:
                # A run that was killed while it wrote.
                write_atomic(path, "".join(map(json_line, entries)))
            self._seen = {tuple(str(entry.get(part)) for part in KEY) for entry in entries}
            self._kinds = {
                (str(entry.get("data")), kind_of(str(entry.get("where")), str(entry.get("reason"))))
                for entry in entries
            }

    def expect(self, bad: Iterable[tuple[str, BadSample]]) -> None:
        """Takes note of rows that were found bad before anything drew them, so that the first one drawn of each kind
        says how many are alike.

        Args:
            bad: `train` or `eval` with each.
        """
        bad = list(bad)
        for data in dict.fromkeys(data for data, _ in bad):
            for kind, places in places_of(error for of, error in bad if of == data).items():
                self._expected[data, kind] = places

    def add(self, data: str, error: BadSample, dataset: str | None, row: int | None = None) -> None:
        """Writes a row that was not met before, and warns of the first of each kind of fault.

        Args:
            data: `train` or `eval`.
            dataset, row: its name, and the row there; None: as the error has it, whose row may count in one file of
                several.

        Raises:
            UserError: the file cannot be written.
        """
        place = _WHERE.fullmatch(error.where)
        dataset = dataset or (place["dataset"] if place else error.where)
        row = int(place["row"]) if row is None and place else row
        entry = {"data": data, "dataset": dataset, "row": row, "where": error.where}
        key = tuple(str(entry[part]) for part in KEY)
        if key in self._seen:
            return
        self._seen.add(key)
        self._write({**entry, "path": error.path, "reason": error.reason})
        kind = (data, kind_of(error.where, error.reason))
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        if len(self._kinds) <= WARNED:
            told = error.with_alike(len(self._expected.get(kind, set()) - {error.where}))
            self.warn(f"bad sample, skipped ({data} {dataset}): {told}")
        elif len(self._kinds) == WARNED + 1:
            self.warn("further kinds of bad samples have no line here" + (f": {self.path}" if self.path else ""))

    def _write(self, entry: dict) -> None:
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json_line(entry))
        except OSError as error:
            raise cannot_write(self.path, error) from error
