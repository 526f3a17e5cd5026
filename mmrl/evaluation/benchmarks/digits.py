"""The embedded digit tasks as a benchmark: it needs no file, and shows the contract."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from mmrl.contracts.benchmark import Scored
from mmrl.contracts.types import Sample
from mmrl.data.digits import Digits
from mmrl.recipe.data import DigitsData
from vision_rewards import get_reward

ROWS = 500


class DigitsBenchmark:
    """Five visual tasks on real digit scans (scikit-learn's, of UCI's test set, BSD), held-out scans only."""

    about = "five visual tasks on real digit scans (scikit-learn's load_digits), held-out scans, 500 questions"

    def __init__(self) -> None:
        self._reward = get_reward("route", params={"iou": {"threshold": 0.5}})

    def rows(self, root: str | None) -> Sequence[Sample]:
        """See `Benchmark.rows`; `root` is not read."""
        return Digits(DigitsData(type="digits", split="test", size=ROWS))

    def score(self, completion: str, sample: Sample) -> float:
        """The accuracy of the task's reward."""
        reward = self._reward.for_task(sample.task)
        return float(reward.accuracy(reward(completion, sample.target)))

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Accuracy of each task; `score` is their mean."""
        tasks = defaultdict(list)
        for answer in scored:
            tasks[answer.sample.task].append(answer.score)
        figures = {task: fmean(scores) for task, scores in tasks.items()}
        return {"score": fmean(figures.values()), **figures}
