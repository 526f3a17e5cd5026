"""What a person at the terminal sees: a live table, one line per step, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from mmrl.tracking.heldout import column_title, evaluations_of, heldout_table

# Metric, the word shown, format.
SHOWN = (
    ("loss/total", "loss", "{:.4g}"),
    ("reward/mean", "reward", "{:.3f}"),
    ("accuracy/mean", "accuracy", "{:.3f}"),
    ("policy/entropy", "entropy", "{:.3f}"),
    ("length/mean", "length", "{:.1f}"),
    ("policy/kl_ref", "KL", "{:.4g}"),
    ("gap/log_prob_mean", "gap", "{:.2g}"),
    ("optim/grad_norm", "grad norm", "{:.3g}"),
    ("throughput/tokens_per_s", "tokens/s", "{:,.0f}"),
)


class Console(Protocol):
    """A view of the run's figures."""

    def update(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """Shows figures of one step."""

    def warn(self, text: str) -> None:
        """Shows a line beside the figures."""

    def close(self) -> None:
        """Leaves the terminal as it should stay."""


class Clock:
    """Seconds left, from the mean duration of the steps since this process started."""

    def __init__(self, total: int, done: int):
        self.total = total
        self._first = done
        self._start = time.monotonic()

    def left(self, step: int) -> float | None:
        """Seconds, or None before the first step ends."""
        steps = step - self._first
        if steps <= 0:
            return None
        return (time.monotonic() - self._start) / steps * max(0, self.total - step)


class Silent:
    """Shows nothing."""

    def update(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Plain:
    """One readable line per call."""

    def __init__(self, name: str, total: int, done: int):
        self._clock = Clock(total, done)

    def update(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        figures = [f"{word} {form.format(metrics[key])}" for key, word, form in SHOWN if key in metrics]
        figures += [f"{key} {value:.3f}" for key, value in metrics.items() if key.startswith("eval/")]
        left = self._clock.left(step)
        if left is not None and step < self._clock.total:
            figures.append(f"left {duration(left)}")
        width = len(str(self._clock.total))
        print(f"step {step:>{width}}/{self._clock.total}  {stage:<8}", "  ".join(figures), flush=True)

    def warn(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        pass


class Live:
    """A table that stays in place: progress, time left, the last figures and the last evaluation."""

    def __init__(self, name: str, total: int, done: int):
        from rich.console import Console as RichConsole
        from rich.live import Live as RichLive

        self._name = name
        self._clock = Clock(total, done)
        self._seen: dict[str, float] = {}
        # Redrawn on update only: a refresh thread would draw while training holds the interpreter.
        self._live = RichLive(console=RichConsole(), auto_refresh=False, transient=False)
        self._live.start()

    def update(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        self._seen.update(metrics)
        self._live.update(self._render(step, stage), refresh=True)

    def warn(self, text: str) -> None:
        # Above the table, which stays in place.
        self._live.console.print(text, markup=False, highlight=False)

    def _render(self, step: int, stage: str) -> Any:
        from rich.columns import Columns
        from rich.console import Group
        from rich.markup import escape
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        total = self._clock.total
        left = self._clock.left(step)
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(justify="right", no_wrap=True)
        remaining = f"{duration(left)} left" if left is not None else ""
        head.add_row(
            f"[bold]{escape(stage)}[/]  {step}/{total}", ProgressBar(total=max(1, total), completed=step), remaining
        )
        cells = [(word, form.format(self._seen[key])) for key, word, form in SHOWN if key in self._seen]
        evals = [(key, f"{value:.3f}") for key, value in self._seen.items() if key.startswith("eval/")]
        tables = []
        for items in filter(None, (cells, evals)):
            table = Table.grid(padding=(0, 2))
            table.add_column(style="dim", no_wrap=True)
            table.add_column(justify="right", no_wrap=True)
            for word, value in items:
                table.add_row(escape(word), value)
            tables.append(table)
        return Panel(Group(head, "", Columns(tables, padding=(0, 6))), title=escape(self._name), title_align="left")

    def close(self) -> None:
        self._live.stop()


def make_console(mode: Literal["auto", "live", "plain", "none"], name: str, total: int, done: int) -> Console:
    """The console for `mode`; `auto` is live on a terminal and plain elsewhere."""
    if mode == "none":
        return Silent()
    if mode == "live" or (mode == "auto" and sys.stdout.isatty()):
        return Live(name, total, done)
    return Plain(name, total, done)


def duration(seconds: float) -> str:
    """`8s`, `3m12s`, `2h05m`, `3d04h`."""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 60:
        return f"{whole}s"
    if hours < 1:
        return f"{minutes}m{whole % 60:02d}s"
    if days < 1:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{days}d{hours % 24:02d}h"


def final_table(summary: Mapping[str, Any]) -> None:
    """Prints held-out accuracy per task and held-out loss, from start to final; nothing where no evaluation ran."""
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    table = heldout_table(evaluations_of(summary))
    if not table.rows:
        return
    view = Table(title=table.title, title_justify="left", title_style="bold", header_style="dim")
    view.add_column("task")
    for column in table.columns:
        view.add_column(Text(column_title(column)), justify="right", style="bold" if column == "final" else "")
    for task, values in table.rows:
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        view.add_row(Text(task), *cells, style="bold" if task == "mean" else "", end_section=False)
    RichConsole().print(view)
