"""The starts of a run that was resumed: when, after which step, how long, and what had changed."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from mmrl.tracking.console import duration
from mmrl.tracking.run_files import Run
from mmrl.tracking.starts import Start, in_force, ran_until


def changes_of(run: Run) -> list[tuple[int, str]]:
    """(step, what changed from it on) of the starts whose steps the run still has."""
    return [
        (start.step, "\n".join((f"start {start.number}", *start.changes)))
        for start in in_force(run.starts)
        if start.changes
    ]


def render_starts(run: Run) -> str:
    """A table of the starts; empty text where there was one."""
    if len(run.starts) < 2:
        return ""
    standing = {start.number for start in in_force(run.starts)}
    last = max((r["time"] for r in run.records if isinstance(r.get("time"), int | float)), default=0.0)
    rows = "".join(_row(start, last, start.number in standing) for start in run.starts)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("start", "after step", "begun", "ran", "changed"))
    return (
        '<section><h2>Starts</h2><div class="card scroll wide"><table class="starts"><thead><tr>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _row(start: Start, last_figure: float, stands: bool) -> str:
    begun = f"{datetime.fromtimestamp(start.time, UTC):%Y-%m-%d %H:%M} UTC"
    lines = [
        *start.changes,
        *([] if stands else ["a later start went on from here or before: its steps are gone"]),
    ]
    changed = f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else "nothing"
    if start.number == 1 and stands:
        changed = ""
    ran = duration(ran_until([start], last_figure))
    return (
        f'<tr class="{"" if stands else "gone"}"><th scope="row" title="{escape(start.config)}">{start.number}</th>'
        f"<td>{start.step}</td><td>{begun}</td><td>{ran}</td><td>{changed}</td></tr>"
    )
