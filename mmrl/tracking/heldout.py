"""The table of held-out accuracy: tasks by start, after each stage, final. Console and report show the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "eval/"


@dataclass(frozen=True, slots=True)
class Heldout:
    """Columns in time order, and per row (tasks, then `mean`) one value a column, None where there is none."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


def heldout_table(evaluations: Mapping[str, Mapping[str, Any]]) -> Heldout:
    """The table of `summary["eval"]`: `{"start" | "after_<stage>" | "final": {task: value}}`.

    `final` comes last whatever the mapping's order. Values that are not numbers are left out.
    """
    columns = [name for name in evaluations if name != "final"]
    columns.sort(key=lambda name: name != "start")
    columns += ["final"] if "final" in evaluations else []
    tasks = {task for name in columns for task, value in _items(evaluations[name]) if _number(value) is not None}
    names = [*sorted(tasks - {"mean"}), *(["mean"] if "mean" in tasks else [])]
    rows = [(task, tuple(_number(dict(_items(evaluations[c])).get(task)) for c in columns)) for task in names]
    return Heldout(tuple(columns), tuple(rows))


def evaluations_in(records: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> dict[str, dict[str, float]]:
    """`summary["eval"]` rebuilt from metrics.jsonl: evaluations at step 0, the last of each stage, and the last of all.

    `final` appears only with a step after 0.
    """
    found: dict[str, dict[str, float]] = {}
    for record in records:
        figures = {k.removeprefix(PREFIX): v for k, v in record.items() if k.startswith(PREFIX)}
        if not figures:
            continue
        if record["step"] == 0:
            found.setdefault("start", {}).update(figures)
            continue
        if record["stage"] in stages:
            found[f"after_{record['stage']}"] = figures
        found["final"] = figures
    return found


def _items(value: Any) -> Sequence[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def column_title(column: str) -> str:
    """`after_sft` as people read it."""
    return f"after {column.removeprefix('after_')}" if column.startswith("after_") else column
