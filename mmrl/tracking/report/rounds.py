"""Rounds that a figure may end, on a run's page: its value in each, and whether it ended them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from mmrl.tracking.report.plots import number
from mmrl.tracking.run_files import Run, ended_rounds

COLUMNS = ("rounds", "figure", "its value in each round", "end")


def render_rounds(run: Run) -> str:
    """A table with a row per list of rounds, or nothing where no round of any is over."""
    stages = run.config.get("stages")
    loops: dict[str, Mapping[str, Any]] = {}
    for stage in stages if isinstance(stages, list) else []:
        loops |= {loop["name"]: loop for loop in stage.get("loops") or () if loop["name"] in run.rounds}
    if not loops:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(loop, run)) + "</tr>" for loop in loops.values()
    )
    return (
        "<section><h2>Rounds</h2>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _cells(loop: Mapping[str, Any], run: Run) -> list[str]:
    until, values = loop["until"], run.rounds[loop["name"]]
    key = next(key for key in ("below", "above", "plateau") if until.get(key) is not None)
    of = f" (mean of {until['window']})" if until["window"] > 1 else ""
    end = f"after round {len(values)} of {loop['rounds']}"
    if len(values) < loop["rounds"]:
        end = f"{end}, by its figure" if ended_rounds(loop, run.rounds) else f"{len(values)} of {loop['rounds']} so far"
    return [loop["name"], f"{until['figure']} {key} {until[key]:g}{of}", ", ".join(map(number, values)), end]
