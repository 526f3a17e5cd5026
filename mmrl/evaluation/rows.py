"""Held-out rows in batches: bad ones are noted, and the media of those to come are read ahead."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from mmrl.contracts.errors import BadSample
from mmrl.contracts.policy import Media, Policy, media_of
from mmrl.contracts.types import Sample
from mmrl.data.reading_ahead import reading_beside
from mmrl.evaluation.sparse_to_dense import at_frames
from mmrl.recipe.evaluation import SparseToDense

# Rows whose media are read ahead where the recipe names no number.
PREFETCH = 64
# Takes note of a bad sample, its dataset and its row there.
Note = Callable[[BadSample, str, int], object]


class BadRows:
    """The bad rows of one dataset: they raise or, with `skip`, are noted and count as wrong.

    Attributes:
        tasks: how many of each task.
        unknown: how many of which the task is not known.
        unmeasured: how many of which only the loss was asked for.
    """

    def __init__(self, dataset: str, on_bad: str, note: Note | None):
        self.dataset, self.on_bad, self.note = dataset, on_bad, note
        self.tasks: Counter[str] = Counter()
        self.unknown = 0
        self.unmeasured = 0

    def add(self, error: BadSample, row: int, task: str | None) -> None:
        """Raises the error where bad samples stop the evaluation."""
        self._note(error, row)
        if task is None:
            self.unknown += 1
        else:
            self.tasks[task] += 1

    def add_unmeasured(self, error: BadSample, row: int) -> None:
        """As `add`, of a row that no accuracy counts."""
        self._note(error, row)
        self.unmeasured += 1

    def _note(self, error: BadSample, row: int) -> None:
        if self.on_bad == "stop":
            raise error
        if self.note is not None:
            self.note(error, self.dataset, row)


def batches(
    dataset: Sequence[Sample], count: int, size: int, ahead: int, bad: BadRows
) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """The first `count` rows that can be read, `size` rows at a time, each batch with up to `ahead` that follow it."""
    rows = iter(range(count))
    built: deque[tuple[int, Sample | BadSample]] = deque()
    while True:
        built.extend(_build(dataset, row) for row in islice(rows, max(0, size - len(built))))
        if not built:
            return
        now = [built.popleft() for _ in range(min(size, len(built)))]
        built.extend(_build(dataset, row) for row in islice(rows, max(0, ahead - len(built))))
        for row, outcome in now:
            if isinstance(outcome, BadSample):
                bad.add(outcome, row, outcome.task)
        yield _usable(now), _usable(built)


def _build(dataset: Sequence[Sample], row: int) -> tuple[int, Sample | BadSample]:
    try:
        return row, dataset[row]
    except BadSample as error:
        return row, error


def _usable(built: Iterable[tuple[int, Sample | BadSample]]) -> list[Sample]:
    return [sample for _, sample in built if not isinstance(sample, BadSample)]


class MediaAhead:
    """Has the media of samples read in threads, in the order in which they will be used.

    Attributes:
        count: rows that may be looked ahead at; 0: nothing is read ahead.
    """

    def __init__(self, videos: Media | None, count: int, dense: SparseToDense | None):
        self.videos, self.count, self.dense = videos, count, dense

    def want(self, samples: Sequence[Sample], coming: Sequence[Sample]) -> None:
        """Starts reading for `samples`, which are used as they are, and then for `coming`, as they are used first."""
        ahead = self.videos.ahead if self.videos is not None else None
        if not self.count or self.videos is None or ahead is None:
            return
        jobs: dict[Hashable, Callable[[], Any]] = {}
        for sample in (*samples, *map(self._first, coming)):
            jobs |= self.videos.jobs(sample)
        ahead.want(jobs)

    def _first(self, sample: Sample) -> Sample:
        return at_frames(sample, self.dense.levels[0]) if self.dense is not None and sample.videos else sample


@contextmanager
def media_ahead(
    policy: Policy, prefetch: int | None, max_gb: float, dense: SparseToDense | None = None
) -> Iterator[MediaAhead]:
    """Reads ahead for an evaluation; however it is left, its threads are gone then.

    Args:
        prefetch, max_gb: `data.prefetch` and `data.prefetch_gb`.
        dense: at which numbers of frames videos are read, where not at the policy's.
    """
    videos = media_of(policy)
    if videos is None or prefetch == 0:
        yield MediaAhead(None, 0, dense)
        return
    with reading_beside(videos, max_gb):
        yield MediaAhead(videos, PREFETCH if prefetch is None else prefetch, dense)
