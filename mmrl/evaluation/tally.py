"""The accuracies of a held-out evaluation, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.heldout import MEAN, UNREADABLE, is_taken
from mmrl.contracts.types import Group
from mmrl.evaluation.rows import BadRows


@dataclass(slots=True)
class Tally:
    """Scores, and episodes that ended in success, by (dataset, task); rows of no known task by dataset."""

    scores: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, dataset: str, groups: Iterable[Group]) -> None:
        """Counts a dataset's groups of one trajectory. Raises ConfigError where a task's name is taken."""
        for trajectory, task in ((group.trajectories[0], group.sample.task) for group in groups):
            self._scores_of(dataset, task).append(trajectory.measured())
            if trajectory.episode is not None:
                self.ends[dataset, task] += trajectory.episode.success_at_end

    def add_bad(self, dataset: str, bad: BadRows) -> None:
        """Counts a dataset's bad rows as wrong: those of no known task too, where all others have one task."""
        for task, count in bad.tasks.items():
            self._scores_of(dataset, task).extend([0.0] * count)
        of_dataset = [key for key in self.scores if key[0] == dataset]
        if len(of_dataset) == 1:
            self.scores[of_dataset[0]] += [0.0] * bad.unknown
        else:
            self.unknown[dataset] += bad.unknown
        self.unknown[dataset] += bad.unmeasured

    def _scores_of(self, dataset: str, task: str) -> list[float]:
        if (dataset, task) in self.scores:
            return self.scores[dataset, task]
        for name, renamed in ((task, "the task"), (f"{dataset}/{task}", "the held-out set")):
            if is_taken(name):
                raise ConfigError(
                    f"data.eval: held-out set '{dataset}' has a task '{task}', and '{name}' is the name of another "
                    f"held-out figure; rename {renamed}"
                )
        return self.scores.setdefault((dataset, task), [])

    def _names(self, controls: Collection[str]) -> dict[tuple[str, str], str]:
        """What the accuracy of each (dataset, task) is called."""
        tasks = [task for name, task in self.scores if name not in controls]
        return {
            (name, task): task if name not in controls and tasks.count(task) == 1 else f"{name}/{task}"
            for name, task in self.scores
        }

    def rows(self, controls: Collection[str]) -> dict[str, float]:
        """How many rows each accuracy is over, by its name.

        That of the mean is the number over which one accuracy has the variance of a mean of tasks that weigh the same:
        (tasks)^2 / sum(1 / rows), all rows where the tasks have equally many.
        """
        counts = {key: float(len(values)) for key, values in self.scores.items()}
        counted = [count for key, count in counts.items() if key[0] not in controls]
        named = self._names(controls)
        rows = {named[key]: count for key, count in counts.items()}
        rows |= {f"{named[key]}/success_at_end": counts[key] for key in self.ends}
        return rows | ({MEAN: len(counted) ** 2 / sum(1 / count for count in counted)} if counted else {})

    def accuracy(self, rows: int, controls: Collection[str]) -> dict[str, float]:
        """The accuracies of `mmrl.evaluation.runner.evaluate`, over `rows` rows; empty where nothing was scored."""
        means = {key: sum(values) / len(values) for key, values in self.scores.items()}
        named = self._names(controls)
        results = {named[key]: mean for key, mean in means.items() if key[0] not in controls}
        if means:
            results[MEAN] = sum(results.values()) / len(results) if results else 0.0
        results |= {named[key]: mean for key, mean in means.items() if key[0] in controls}
        results |= {f"{named[key]}/success_at_end": count / len(self.scores[key]) for key, count in self.ends.items()}
        unreadable = self.unknown.total() / rows
        return results | ({UNREADABLE: unreadable} if unreadable else {})
