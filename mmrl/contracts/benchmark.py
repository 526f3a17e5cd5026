"""The contract of benchmarks: a held-out set that says how it is read, scored and summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mmrl.contracts.types import Sample


@dataclass(frozen=True, slots=True)
class Scored:
    """One question and what its answer came to.

    Attributes:
        sample: the question.
        text: the answer; empty where the sample could not be read.
        score: in [0, 1]; 0 where the sample could not be read: it stays in the denominator.
        failed: why the sample could not be read or asked; None: it was asked.
        truncated: whether the limit of tokens cut the answer.
    """

    sample: Sample
    text: str
    score: float
    failed: str | None = None
    truncated: bool = False


class Benchmark(Protocol):
    """A published test, whatever policy it is asked of. Its class is what the registry holds.

    Attributes:
        about: what it measures, its split, source and licence, in one sentence.
    """

    about: str

    def rows(self, root: str | None) -> Sequence[Sample]:
        """The questions, in a fixed order. Raises UserError where files are missing, naming how to get them.

        Args:
            root: folder of its files; None: where it needs none.
        """

    def score(self, completion: str, sample: Sample) -> float:
        """The score of one answer in [0, 1]: its text is extracted as the benchmark's own code does."""

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """The benchmark's figures; `score` is the one it is known by."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A published figure.

    Attributes:
        model: that it is of.
        score: as it was published, mostly in percent.
        source: where it stands.
    """

    model: str
    score: float
    source: str

    def __str__(self) -> str:
        return f"{self.model} {self.score:g} ({self.source})"


@dataclass(frozen=True, slots=True)
class Facts:
    """What `mmrl eval list` says of a benchmark.

    Attributes:
        source: the hub's name of it, or where else it comes from.
        split: of its source.
        size: rows there; None: not known.
        metric: what `score` is.
        licence: of its rows; a hub copy may carry none.
        media: where pictures or videos are expected, as seen from the folder of all benchmarks.
        prompt: whose words the question is put in.
        references: published figures.
    """

    source: str
    split: str
    size: int | None
    metric: str
    licence: str
    media: str
    prompt: str = "ours"
    references: tuple[Reference, ...] = ()


@runtime_checkable
class Described(Protocol):
    """A benchmark that says more of itself than one sentence.

    Attributes:
        facts: see `Facts`.
        protocol: what its figures are made of, as plain values: `template`, `system`, `extractor`, `metric`, …
        limit: most tokens of an answer where nothing else is said.
    """

    facts: Facts
    limit: int

    @property
    def protocol(self) -> Mapping[str, Any]: ...

    def gold(self, sample: Sample) -> str | None:
        """An answer that scores 1, or the most that there is; None where a row has none."""


@runtime_checkable
class Weighted(Protocol):
    """A benchmark whose figures are weighted sums of its rows' scores, so that their errors are known."""

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """The weight of each row in each such figure."""

    def cluster(self, sample: Sample) -> str:
        """What rows have in common that makes their errors alike: their picture, or their video."""


@runtime_checkable
class Judgeable(Protocol):
    """A benchmark some of whose answers a language model should grade where rules do not hold them for right.

    Attributes:
        judged: the tasks of its samples that are such.
    """

    judged: Sequence[str]


@runtime_checkable
class Played(Protocol):
    """A benchmark of episodes.

    Attributes:
        simulators: settings of the simulators that its samples name, as a recipe has them.
    """

    simulators: Mapping[str, Mapping[str, Any]]
