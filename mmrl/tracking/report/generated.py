"""The data that a run's stages have generated, on its page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

COLUMNS = ("stage", "prompts", "answers", "pass rate", "agreement", "mean length", "what each rule left", "rows")


def render_generated(folder: Path) -> str:
    """A table with a row per data set that is whole, or nothing where there is none."""
    sets = [*_indexes(folder)]
    if not sets:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(*each)) + "</tr>" for each in sets)
    return (
        "<section><h2>Generated data</h2>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _indexes(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(stage, its index.json) in the order in which they were written."""
    paths = sorted((folder / "generated").glob("*/index.json"), key=lambda path: (path.stat().st_mtime_ns, str(path)))
    for path in paths:
        yield path.parent.name, json.loads(path.read_text())


def _cells(stage: str, index: Mapping[str, Any]) -> list[str]:
    rules = "; ".join(f"{count['rule']}: {count['answers'][0]} → {count['answers'][1]}" for count in index["rules"])
    figures = [f"{index[key]:.3g}" for key in ("pass_rate", "agreement", "length")]
    return [
        stage,
        str(index["prompts"]),
        str(index["answers"]),
        *figures,
        rules or "–",
        f"{index['rows']} {index['write']}",
    ]
