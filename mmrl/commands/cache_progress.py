"""What the actions of `mmrl cache` share: threads, a progress bar, and the exit code for broken media."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BAD = 2


@contextmanager
def progress(title: str, total: int) -> Iterator[Any]:
    """A progress bar on a terminal's standard error: `advance(text)` moves it on by one and sets the text behind it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, text="")

        def advance(text: str = "") -> None:
            bar.update(task, advance=1, text=text)

        yield advance


def workers(args: Namespace) -> int:
    """Threads to use: as asked, else one per usable core."""
    if args.workers is not None:
        return args.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
