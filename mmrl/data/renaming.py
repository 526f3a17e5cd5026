"""Columns of a file under the names that a format reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmrl.contracts.errors import UserError, nearest

Mapped = Mapping[str, str | Sequence[str]]


def sources_of(columns: Mapped) -> list[str]:
    """All the file's own names that are mapped."""
    return [name for source in columns.values() for name in ([source] if isinstance(source, str) else source)]


def check_sources(columns: Mapped, there: Iterable[str], dataset: str) -> None:
    """Raises UserError where a mapped column is not among those that are there."""
    known = sorted(there)
    for name in sources_of(columns):
        if name not in known and name.split(".")[0] not in known:
            raise UserError(
                f"{dataset}: columns: there is no column '{name}'.{nearest(name, known)} "
                f"Columns seen: {', '.join(known) or 'none'}"
            )


def renamed(row: Mapping[str, Any], columns: Mapped) -> dict[str, Any]:
    """The row with its mapped columns under the format's names; a column of the file that has such a name goes."""
    if not columns:
        return dict(row)
    taken = {name for name in sources_of(columns) if name in row}
    values = {key: value for key, value in row.items() if key not in taken and key not in columns}
    for column, source in columns.items():
        if isinstance(source, str):
            values[column] = value_at(row, source)
        else:
            values[column] = [item for name in source for item in _items(value_at(row, name))]
    return values


def value_at(row: Mapping[str, Any], name: str) -> Any:
    """The column `name`, or what stands inside a column at `a.b`; None where that is nothing."""
    if name in row:
        return row[name]
    value: Any = row
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _items(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
