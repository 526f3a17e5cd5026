"""Two runs beside each other: settings that differ, held-out accuracy and loss, and the last figures of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mmrl.contracts.heldout import LOSS, MEAN, is_loss
from mmrl.recipe.changes import Change, differences
from mmrl.tracking.heldout import heldout_table
from mmrl.tracking.report.charts import curves, render_comparison
from mmrl.tracking.report.page import wrap
from mmrl.tracking.run_files import Run, read_run
from mmrl.tracking.text_table import aligned

# Steps at the end of a run over which a figure is averaged: one step alone is mostly noise.
LAST_STEPS = 10
FIGURES = (
    *("reward/mean", "accuracy/mean", "loss/total", "length/mean", "policy/entropy", "policy/kl_ref"),
    *("gap/log_prob_mean", "optim/grad_norm", "time/step"),
)


@dataclass(frozen=True)
class Compared:
    """A figure of two runs; None where a run has none. `change` is what the second has more."""

    name: str
    first: float | None
    second: float | None

    @property
    def change(self) -> float | None:
        return None if self.first is None or self.second is None else self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        labels: what they are called: their names, or the paths given where these are equal.
        settings: those that differ.
        accuracy: held-out, per task, of the last evaluation of each run, `mean` last.
        loss: held-out, of the same evaluation, the mean over the sets last.
        figures: means over the last steps of each.
        notes: what is missing or damaged.
    """

    labels: tuple[str, str]
    runs: tuple[Run, Run]
    settings: Sequence[Change]
    accuracy: Sequence[Compared]
    loss: Sequence[Compared]
    figures: Sequence[Compared]
    notes: Sequence[str]


def compare(first: Path, second: Path) -> Comparison:
    """Compares the runs in two folders, finished or not.

    Raises:
        UserError: a folder is no run.
    """
    runs = (read_run(first), read_run(second))
    names = (runs[0].name, runs[1].name)
    labels = names if names[0] != names[1] else (str(first), str(second))
    notes = [f"{label}: {note}" for label, run in zip(labels, runs) for note in run.notes]
    settings = differences(runs[0].config, runs[1].config) if all(run.config for run in runs) else []
    heldout = _heldout(runs)
    accuracy = [row for row in heldout if not is_loss(row.name)]
    loss = [row for row in heldout if is_loss(row.name)]
    return Comparison(labels, runs, settings, accuracy, loss, _figures(runs), notes)


def _heldout(runs: Sequence[Run]) -> list[Compared]:
    first, second = (_last_evaluation(run) for run in runs)
    names = sorted({*first, *second}, key=lambda name: (name in (MEAN, LOSS), name))
    return [Compared(name, first.get(name), second.get(name)) for name in names]


def _last_evaluation(run: Run) -> dict[str, float | None]:
    return {task: values[-1] for task, values in heldout_table(run.evaluations).rows}


def _figures(runs: Sequence[Run]) -> list[Compared]:
    first, second = ({name: _last_mean(points) for name, points in curves(run.records).items()} for run in runs)
    return [Compared(name, first.get(name), second.get(name)) for name in FIGURES if name in first or name in second]


def _last_mean(points: Sequence[tuple[int, float | None]]) -> float | None:
    values = [value for _, value in points[-LAST_STEPS:] if value is not None]
    return sum(values) / len(values) if values else None


def render_text(comparison: Comparison) -> str:
    """The comparison as lines of text."""
    first, second = comparison.labels
    lines = [f"{label}: step {run.last_step}, {run.folder}" for label, run in zip(comparison.labels, comparison.runs)]
    lines += ["", "settings that differ" if comparison.settings else "no setting differs"]
    lines += [f"  {change}" for change in comparison.settings]
    if comparison.accuracy:
        lines += ["", *_table("held-out accuracy", comparison.accuracy, first, second)]
    if comparison.loss:
        lines += ["", *_table("held-out loss, nats per token", comparison.loss, first, second)]
    if comparison.figures:
        lines += ["", *_table(f"mean of the last {LAST_STEPS} steps", comparison.figures, first, second)]
    lines += ["", *comparison.notes] if comparison.notes else []
    return "\n".join(lines)


def _table(title: str, rows: Sequence[Compared], first: str, second: str) -> list[str]:
    cells = [(title, first, second, "change")]
    cells += [(row.name, _number(row.first), _number(row.second), _number(row.change, sign=True)) for row in rows]
    return aligned(cells)


def _number(value: float | None, sign: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if sign else ''}.4g}"


def render_page(comparison: Comparison) -> str:
    """The comparison as one HTML page, with a chart per figure that both runs have."""
    title = f"{comparison.labels[0]} and {comparison.labels[1]}"
    changes = "".join(f"<li><code>{escape(str(change))}</code></li>" for change in comparison.settings)
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    parts = [
        f"<header><h1>{escape(title)}</h1></header>",
        f'<div class="notes" role="note"><ul>{notes}</ul></div>' if notes else "",
        f"<section><h2>Settings that differ</h2>{f'<ul>{changes}</ul>' if changes else '<p>None.</p>'}</section>",
        _html_table("Held-out accuracy", comparison.accuracy, comparison.labels),
        _html_table("Held-out loss, nats per token", comparison.loss, comparison.labels),
        _html_table(f"Mean of the last {LAST_STEPS} steps", comparison.figures, comparison.labels),
        render_comparison(dict(zip(comparison.labels, comparison.runs))),
    ]
    return wrap(title, "".join(parts))


def _html_table(title: str, rows: Sequence[Compared], labels: tuple[str, str]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("", *labels, "change"))
    body = "".join(
        f'<tr class="{"mean" if row.name == "mean" else ""}"><th scope="row">{escape(row.name)}</th>'
        f"<td>{_number(row.first)}</td><td>{_number(row.second)}</td><td>{_number(row.change, sign=True)}</td></tr>"
        for row in rows
    )
    return (
        f'<section><h2>{escape(title)}</h2><div class="card scroll"><table class="heldout" style="--columns:3">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )
