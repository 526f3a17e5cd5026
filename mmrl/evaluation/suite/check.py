"""Whether a benchmark's files are complete, and its right answers score 1."""

from __future__ import annotations

from mmrl.contracts.benchmark import Described
from mmrl.contracts.errors import UserError
from mmrl.evaluation.suite.runner import open_task


def check_benchmark(name: str, root: str | None, limit: int | None = None) -> str:
    """One line that says what was found.

    Raises:
        UserError: files or media are missing, a row cannot be read, or a right answer does not score 1.
    """
    task = open_task(name, root, limit, count_missing=False)
    benchmark, proved, below = task.benchmark, 0, 0
    if isinstance(benchmark, Described):
        for row in range(task.survey.count):
            sample = task.rows[row]
            gold = benchmark.gold(sample)
            if gold is None:
                continue
            score = task.benchmark.score(gold, sample)
            if score <= 0.0 or (score < 1.0 and not getattr(benchmark, "graded", False)):
                raise UserError(
                    f"benchmark '{name}': {sample.where}: the right answer {gold[:60]!r} scores {score:g}, not 1"
                )
            proved, below = proved + 1, below + (score < 1.0)
    size = benchmark.facts.size if isinstance(benchmark, Described) else None
    part = f" of {size} published" if size is not None and size != task.survey.count else ""
    best = f", {below} of them less, on which annotators disagree" if below else ""
    return f"{name}: {task.survey.count} rows{part}, no media missing, {proved} right answers score 1{best}"
