"""Names of held-out figures that are no accuracy of a task."""

from __future__ import annotations

from collections.abc import Mapping

MEAN = "mean"
LOSS = "loss"
UNREADABLE = "unreadable"
# As it is logged: it stands beside an evaluation's results, not among them.
TRUNCATED = "eval/truncated"
# `eval_rows/<name>`: the rows behind `eval/<name>`.
ROWS = "eval_rows/"


def is_taken(name: str) -> bool:
    """Whether `eval/<name>` is a figure of its own, so that no task may be called so."""
    return name in (MEAN, UNREADABLE) or f"eval/{name}" == TRUNCATED or is_loss(name)


def is_loss(name: str) -> bool:
    """Whether a held-out figure is a loss, `loss` or `loss/<dataset>`, of which less is better."""
    return name == LOSS or name.startswith(f"{LOSS}/")


def best_figure(name: str, results: Mapping[str, float]) -> str:
    """The figure that `checkpoint.best` means: `mean` is the loss where nothing is scored."""
    return LOSS if name == MEAN and name not in results and LOSS in results else name
