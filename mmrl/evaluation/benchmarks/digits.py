"""The embedded digit tasks as benchmarks: they need no file, and show the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Scored
from mmrl.contracts.types import Sample
from mmrl.data.digits import Digits
from mmrl.data.video_digits import VideoDigits
from mmrl.evaluation.figures import by_column, figures_of, means
from mmrl.recipe.data import DigitsData, VideoDigitsData
from vision_rewards import get_reward

ROWS = 500


class _Tasks:
    """Rows of several tasks, each scored by its task's reward; `score` is the mean of the tasks."""

    limit = 96
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self) -> None:
        self._reward = get_reward("route", params=self.params)

    def score(self, completion: str, sample: Sample) -> float:
        """The accuracy of the task's reward."""
        reward = self._reward.for_task(sample.task)
        return float(reward.accuracy(reward(completion, sample.target)))

    def gold(self, sample: Sample) -> str | None:
        """The sample's demonstration."""
        self._reward.for_task(sample.task).check(sample.target)
        return sample.demonstration

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """Accuracy of each task; `score` is their mean."""
        tasks = by_column([{"task": answer.sample.task} for answer in scored], "task")
        return {"score": means(list(tasks.values()), len(scored)), **tasks}

    def cluster(self, sample: Sample) -> str:
        """Every row has a picture or video of its own."""
        return sample.id

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Accuracy of each task; `score` is their mean."""
        return figures_of(scored, self.weights(scored))

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See `Described.protocol`; each task words its own question."""
        params = {name: dict(values) for name, values in self.params.items()}
        return {"extractor": "vision_rewards route", "metric": {"params": params}}


class DigitsBenchmark(_Tasks):
    """Five visual tasks on real digit scans (UCI's test set), held-out scans only."""

    about = "five visual tasks on real digit scans (UCI's test set), held-out scans, 500 questions"
    facts = Facts(
        source="UCI's Optical Recognition of Handwritten Digits",
        split="test",
        size=ROWS,
        metric="accuracy, mean of five tasks",
        licence="CC BY 4.0",
        media="none: they are rendered",
    )
    params: ClassVar = {"iou": {"threshold": 0.5}}

    def rows(self, root: str | None) -> Sequence[Sample]:
        """See `Benchmark.rows`; `root` is not read."""
        return Digits(DigitsData(type="digits", split="test", size=ROWS))


class VideoDigitsBenchmark(_Tasks):
    """Five tasks on videos of the same scans: what comes first, how many, in what order, when, and where."""

    about = "five tasks on videos of real digit scans, held-out scans, 500 questions"
    facts = Facts(
        source="UCI's Optical Recognition of Handwritten Digits",
        split="test",
        size=ROWS,
        metric="accuracy, mean of five tasks",
        licence="CC BY 4.0",
        media="none: they are rendered into the user's cache",
    )

    def rows(self, root: str | None) -> Sequence[Sample]:
        """See `Benchmark.rows`; `root` is not read."""
        return VideoDigits(VideoDigitsData(type="video_digits", split="test", size=ROWS))
