"""The answers of a benchmark on disk: a line of JSON for each, written as it comes, whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.tracking.files import json_line

SAMPLES = "samples.jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """One row's answer.

    Attributes:
        row: in the benchmark, where each row stands as often as it is asked; see `Draws`.
        id: the sample's.
        question: the text that was asked.
        target: what is right, in the policy's own coordinates.
        answer: what was said.
        score: in [0, 1].
        failed: why the row could not be read or asked; None: it was.
        truncated: the limit of tokens cut the answer.
        tokens: of the answer.
        prompt_tokens: of the prompt, pictures and videos expanded.
        frames: of video that reached the model.
        coordinates: of the boxes in `target` and `answer`, as samples have them.
        cluster: what the row shares with others: a picture, a video; empty: nothing is known of it.
        judge: verdicts of a language model, `answer` and `reasoning`: 0, 1, or `unreadable`; empty: it was not asked.
        facts: of an episode: success at any step and at the end, and its steps.
    """

    row: int
    id: str
    question: str
    target: Mapping[str, Any]
    answer: str = ""
    score: float = 0.0
    failed: str | None = None
    truncated: bool = False
    tokens: int = 0
    prompt_tokens: int = 0
    frames: int = 0
    coordinates: str = ""
    cluster: str = ""
    judge: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Records:
    """The answers in a folder.

    Args:
        folder: of one benchmark.
    """

    def __init__(self, folder: Path):
        self.path = folder / SAMPLES

    def read(self) -> dict[int, Record]:
        """Row -> its answer.

        Raises:
            UserError: a line that is no record.
        """
        return read_records(self.path) if self.path.is_file() else {}

    def mend(self) -> None:
        """Cuts off a last line that a killed run left half written."""
        if not self.path.is_file():
            return
        with self.path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)

    def append(self, records: Iterable[Record]) -> None:
        """Writes answers behind those that are there."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json_line(asdict(record)) for record in records))
            file.flush()
            os.fsync(file.fileno())


def read_records(path: Path) -> dict[int, Record]:
    """Row -> its answer, of a file without a torn last line.

    Raises:
        UserError: a line that is no record.
    """
    records: dict[int, Record] = {}
    lines = path.read_text("utf-8").split("\n")
    for number, line in enumerate(lines[:-1]):
        try:
            record = Record(**json.loads(line))
        except (ValueError, TypeError):
            raise UserError(f"'{path}' line {number + 1} is no answer of a benchmark; delete the file") from None
        records[record.row] = record
    return records
