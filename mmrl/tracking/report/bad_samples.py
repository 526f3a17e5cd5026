"""The rows that a run could not use, on its page."""

from __future__ import annotations

from html import escape

from mmrl.tracking.report.text import cut
from mmrl.tracking.run_files import BAD_SAMPLES, Run

SHOWN = 100
CHARS = 500
COLUMNS = ("data", "dataset", "row", "path", "reason")


def render_bad_samples(run: Run) -> str:
    """A folded table of the first rows, or nothing where no row was bad."""
    if not run.bad_samples:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(entry.get(column)))}</td>" for column in COLUMNS) + "</tr>"
        for entry in run.bad_samples[:SHOWN]
    )
    count = len(run.bad_samples)
    rest = f'<p class="muted">… and {count - SHOWN} more in {BAD_SAMPLES}</p>' if count > SHOWN else ""
    return (
        f'<section><details class="fold"><summary><h2>Bad samples, skipped: {count}</h2></summary>'
        f'<div class="scroll"><table class="bad"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"{rest}</details></section>"
    )


def _shown(value: object) -> str:
    return "–" if value is None else cut(str(value), CHARS)
