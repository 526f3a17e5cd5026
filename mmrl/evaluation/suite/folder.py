"""Answers that lie in a folder of results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.evaluation.suite.draws import means_of, samples_of
from mmrl.evaluation.suite.records import Record, Records
from mmrl.evaluation.suite.runner import PROTOCOL


@dataclass(frozen=True, slots=True)
class Stored:
    """One benchmark's answers in a folder.

    Attributes:
        folder: of this benchmark.
        head: the model, the shard and the protocol that they were made with.
        records: row -> its answer.
    """

    folder: Path
    head: Mapping[str, Any]
    records: Mapping[int, Record]

    @property
    def name(self) -> str:
        """The benchmark's."""
        return self.head["protocol"]["benchmark"]

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See `Protocol`."""
        return self.head["protocol"]

    @property
    def samples(self) -> int:
        """Answers to each row."""
        return samples_of(self.protocol)

    @property
    def rows(self) -> dict[int, Record]:
        """Row -> its first answer, with the mean score of all."""
        return means_of(self.records, self.samples)


def stored_in(output: Path) -> dict[str, Stored]:
    """Benchmark -> its answers. Raises UserError where the folder holds none."""
    heads = sorted(output.glob(f"*/{PROTOCOL}")) if output.is_dir() else []
    if not heads:
        raise UserError(f"'{output}' holds no answers of benchmarks: no folder in it has a {PROTOCOL}")
    every = [Stored(path.parent, json.loads(path.read_text()), Records(path.parent).read()) for path in heads]
    return {stored.name: stored for stored in every}
