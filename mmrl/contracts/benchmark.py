"""The contract of benchmarks: a held-out set that says how it is read, scored and summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmrl.contracts.types import Sample


@dataclass(frozen=True, slots=True)
class Scored:
    """One question and what its answer came to.

    Attributes:
        sample: the question.
        text: the answer; empty where the sample could not be read.
        score: in [0, 1]; 0 where the sample could not be read: it stays in the denominator.
    """

    sample: Sample
    text: str
    score: float


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
