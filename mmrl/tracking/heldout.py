"""The table of held-out accuracy and loss: by start, after each stage, final. Console and report show the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrl.contracts.heldout import LOSS, MEAN, ROWS, TRUNCATED, is_loss

PREFIX = "eval/"
LAST = ("final", "latest")


@dataclass(frozen=True, slots=True)
class Heldout:
    """Columns in time order, and per row (tasks, `mean`, losses) one value per column, None where there is none."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]

    @property
    def title(self) -> str:
        """What the rows are."""
        losses = [is_loss(name) for name, _ in self.rows]
        return "held-out loss" if all(losses) else "held-out accuracy and loss" if any(losses) else "held-out accuracy"


def evaluations_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluations in a summary: its keys `start`, `after_<stage>` and `final`."""
    return {k: v for k, v in summary.items() if k in ("start", "final") or k.startswith("after_")}


def heldout_table(evaluations: Mapping[str, Mapping[str, Any]]) -> Heldout:
    """The table of a summary's evaluations: `{"start" | "after_<stage>" | "final": {task: value}}`.

    `final` (`latest` in a run that is not finished) comes last whatever the mapping's order.
    Values that are not numbers are left out.
    """
    columns = sorted(evaluations, key=lambda name: (name in LAST, name != "start"))
    tasks = {task for name in columns for task, value in _items(evaluations[name]) if _number(value) is not None}
    losses = {name for name in tasks if is_loss(name)}
    names = sorted(tasks - losses - {MEAN}) + [MEAN] * (MEAN in tasks)
    names += sorted(losses - {LOSS}) + [LOSS] * (LOSS in losses)
    rows = [(task, tuple(_number(dict(_items(evaluations[c])).get(task)) for c in columns)) for task in names]
    return Heldout(tuple(columns), tuple(rows))


def evaluations_in(records: Sequence[Mapping[str, Any]], ends: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """A summary's evaluations as far as metrics.jsonl has them: `start`, `after_<stage>`, and `latest` of all.

    Args:
        records: lines of metrics.jsonl.
        ends: each stage's last step; evaluations before it are not the stage's result.
    """
    evaluations: dict[str, dict[str, float]] = {}
    for record in records:
        figures = {k.removeprefix(PREFIX): v for k, v in record.items() if k.startswith(PREFIX) and k != TRUNCATED}
        if not figures:
            continue
        if record["step"] == 0:
            evaluations.setdefault("start", {}).update(figures)
            continue
        if record["step"] == ends.get(record["stage"]):
            evaluations[f"after_{record['stage']}"] = figures
        evaluations["latest"] = figures
    return evaluations


def rows_in(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How many rows the last evaluation's accuracies are over, by task, and what `mean` counts for."""
    counts: dict[str, float] = {}
    for record in records:
        now = {k.removeprefix(ROWS): v for k, v in record.items() if k.startswith(ROWS)}
        counts = {name: number for name, value in now.items() if (number := _number(value)) is not None} or counts
    return counts


def _items(value: Any) -> Sequence[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def column_title(column: str) -> str:
    """`after_sft` as people read it."""
    return f"after {column.removeprefix('after_')}" if column.startswith("after_") else column
