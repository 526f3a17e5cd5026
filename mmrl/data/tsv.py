"""Tab-separated files, as VLMEvalKit has them: one row per line, pictures in base64."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.data.tables import MOST_ROW_BYTES

# A picture of no more characters is the `index` of the row that holds it.
LONGEST_INDEX = 64


def read_tsv(path: Path) -> list[dict[str, Any]]:
    """The rows of a file with a head line; fields that pandas wrote for nothing (empty, `nan`) are None.

    Raises:
        UserError: no head, or a line with more fields than it has.
    """
    csv.field_size_limit(MOST_ROW_BYTES)
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            for raw in csv.DictReader(file, delimiter="\t"):
                if None in raw:
                    raise UserError(f"dataset file '{path}' row {len(rows)}: more fields than the head has")
                rows.append({name: None if text in ("", "nan") else text for name, text in raw.items()})
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"dataset file '{path}' is no tab-separated text: {error}") from None
    return [_with_picture(row, by_index) for by_index in [_by_index(rows)] for row in rows]


def _by_index(rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    return {row["index"]: row.get("image") for row in rows if row.get("index") is not None}


def _with_picture(row: dict[str, Any], by_index: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the picture that another row holds, where its own is that row's index."""
    picture = row.get("image")
    if picture is None or len(picture) > LONGEST_INDEX or picture not in by_index:
        return row
    return {**row, "image": by_index[picture]}
