"""report.html: one page that shows a run. It needs nothing but itself, and films of episodes where there are some."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from mmrl.contracts.heldout import TRUNCATED, is_loss
from mmrl.recipe.generating import GENERATE
from mmrl.tracking.console import duration
from mmrl.tracking.files import write_atomic
from mmrl.tracking.heldout import LAST, column_title, evaluations_of, heldout_table, rows_in
from mmrl.tracking.report.bad_samples import render_bad_samples
from mmrl.tracking.report.beginnings import render_beginnings
from mmrl.tracking.report.charts import render_charts
from mmrl.tracking.report.episodes import render_episodes
from mmrl.tracking.report.facts import render_facts
from mmrl.tracking.report.generated import render_generated
from mmrl.tracking.report.heldout import render_heldout
from mmrl.tracking.report.intervals import wilson
from mmrl.tracking.report.rollouts import render_rollouts
from mmrl.tracking.report.rounds import render_rounds
from mmrl.tracking.report.script import SCRIPT
from mmrl.tracking.report.starts import render_starts
from mmrl.tracking.report.style import STYLE
from mmrl.tracking.report.text import cut
from mmrl.tracking.run_files import Run, StageSpan, read_run
from mmrl.tracking.starts import ran_until

CONFIG_CHARS = 200_000


def write_report(run: Path, output: Path | None = None) -> Path:
    """Writes the page of a run: finished, interrupted or still going.

    Args:
        run: the run's folder.
        output: the file to write; default `report.html` in the run's folder.

    Returns:
        the file written.

    Raises:
        UserError: `run` is no run's folder, or the file cannot be written.
    """
    files = read_run(Path(run))
    page = Path(output) if output else files.folder / "report.html"
    return write_atomic(page, render(files, page.parent))


def render(run: Run, beside: Path) -> str:
    """The page as HTML text, for a file in the folder `beside`: videos stay files, which it links to."""
    table = _heldout(run.evaluations, rows_in(run.records))
    notes = [*run.notes, *([] if table else ["No held-out evaluation yet."]), *_cut_answers(run)]
    films = render_episodes(run, beside)
    body = "".join(
        (
            _header(run),
            _notes(notes),
            table,
            films,
            render_starts(run),
            render_rounds(run),
            render_beginnings(run.folder),
            render_generated(run.folder),
            render_charts(run),
            render_heldout(run),
            render_rollouts(run),
            render_bad_samples(run),
            _recipe(run),
            f"<footer>mmrl {escape(str(run.environment.get('mmrl', '')))}</footer>",
        )
    )
    return wrap(run.name, body, films=bool(films))


def wrap(title: str, body: str, films: bool = False) -> str:
    """A whole page around the HTML of `body`; nothing is loaded from anywhere, with `films` but films beside it."""
    # Only this very script may run and nothing but the run's films may load, whatever a model wrote into the page.
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    media = " media-src 'self' file:;" if films else ""
    policy = f"default-src 'none'; img-src data:;{media} style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · mmrl</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _header(run: Run) -> str:
    spans = run.spans
    planned = run.planned[-1].end if run.planned else 0
    facts = [f"step {run.last_step} of {planned}" if planned else f"step {run.last_step}"]
    policy = run.config.get("policy")
    if isinstance(policy, Mapping) and policy.get("path"):
        facts.insert(0, str(policy["path"]))
    if device := run.environment.get("device"):
        facts.append(str(device))
    times = [r["time"] for r in run.records if isinstance(r.get("time"), int | float)]
    if times:
        first = min(run.starts[0].time if run.starts else min(times), min(times))
        facts.append(f"started {datetime.fromtimestamp(first, UTC):%Y-%m-%d %H:%M} UTC")
        facts.append(_ran(run, times))
    stages = run.config.get("stages") if isinstance(run.config.get("stages"), list) else []
    methods = {str(s.get("name")): str(s.get("method", "")) for s in stages if isinstance(s, Mapping)}
    strip = "".join(
        f'<div style="flex-grow:{max(1, span.end - span.start)};--done:{_done(span, run.last_step):.0f}%">'
        f"<b>{escape(span.name)}</b><span>{_stage_line(span.name, methods, span.end - span.start)}</span></div>"
        for span in spans
    )
    return (
        f'<header><h1>{escape(run.name)}</h1><p class="lead">{escape(" · ".join(facts))}</p>'
        f'{f"""<div class="stages">{strip}</div>""" if strip else ""}</header>'
    )


def _ran(run: Run, times: Sequence[float]) -> str:
    if not run.starts:
        return f"{duration(max(times) - min(times))} from the first figure to the last"
    ran = f"ran {duration(ran_until(run.starts, max(times)))}"
    return f"{ran} in {len(run.starts)} starts" if len(run.starts) > 1 else ran


def _done(span: StageSpan, step: int) -> float:
    return 100 * min(1.0, max(0.0, (step - span.start) / max(1, span.end - span.start)))


def _stage_line(name: str, methods: Mapping[str, str], steps: int) -> str:
    method = methods.get(name, "")
    if method == GENERATE:
        return "generates data"
    return escape(f"{method} · {steps} steps" if method and method != name else f"{steps} steps")


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<div class="notes" role="note"><ul>{items}</ul></div>' if items else ""


def _cut_answers(run: Run) -> list[str]:
    """A sentence on the held-out answers that the last evaluation cut, where there are any."""
    shares = [record[TRUNCATED] for record in run.records if record.get(TRUNCATED) is not None]
    if not shares or not shares[-1]:
        return []
    return [
        f"The last evaluation cut {shares[-1]:.1%} of its answers at the limit of tokens, so held-out accuracy may be "
        "too low: evaluation.sampling.max_new_tokens."
    ]


def _heldout(evaluations: Mapping[str, Any], counts: Mapping[str, float]) -> str:
    table = heldout_table(evaluations)
    if not table.rows:
        return ""
    change = table.columns[0] == "start" and table.columns[-1] in LAST
    head = "".join(f'<th scope="col">{escape(column_title(column))}</th>' for column in table.columns)
    head += '<th scope="col">change</th>' if change else ""
    rows = []
    for task, values in table.rows:
        cells = "".join(
            f'<td class="{"final" if column in LAST else ""}">{_with_interval(value, counts.get(task, 0))}</td>'
            for column, value in zip(table.columns, values, strict=True)
        )
        cells += _change(values[0], values[-1], falls=is_loss(task)) if change else ""
        rows.append(f'<tr class="{"mean" if task == "mean" else ""}"><th scope="row">{escape(task)}</th>{cells}</tr>')
    table_tag = f'<table class="heldout" style="--columns:{len(table.columns) + change}">'
    return (
        f'<section><h2>{table.title.capitalize()}</h2><div class="card scroll">{table_tag}<thead><tr>'
        f'<th scope="col">task</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></section>'
    )


def _with_interval(value: float | None, rows: float) -> str:
    """A figure and, below it, the 95 % interval of one that is a share of rows."""
    if value is None:
        return "–"
    interval = wilson(value, rows)
    small = f'<small title="95 % interval">{interval[0]:.2f}–{interval[1]:.2f}</small>' if interval else ""
    return f"{value:.3f}{small}"


def _change(start: float | None, final: float | None, falls: bool) -> str:
    if start is None or final is None:
        return "<td>–</td>"
    gain = round(final - start, 3)
    tone = "" if not gain else "up" if (gain > 0) != falls else "down"
    return f'<td class="{tone}">{f"{gain:+.3f}" if gain else "0.000"}</td>'


def _recipe(run: Run) -> str:
    parts = []
    if run.config_text:
        text = escape(cut(run.config_text, CONFIG_CHARS))
        parts.append(f'<details class="fold"><summary>config.yaml</summary><pre>{text}</pre></details>')
    if run.environment:
        parts.append(f'<div class="fold">{render_facts(run.environment)}</div>')
    evaluations = evaluations_of(run.summary)
    others = {key: value for key, value in run.summary.items() if key not in evaluations}
    if others:
        parts.append(f'<details class="fold"><summary>summary.json</summary>{render_facts(others)}</details>')
    return f"<section><h2>Recipe and environment</h2>{''.join(parts)}</section>" if parts else ""
