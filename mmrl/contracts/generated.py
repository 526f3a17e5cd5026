"""What a policy made of a data set: every answer with its measures, and each row with the profile of its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        number: its place among the answers to its row, from 0.
        accuracy: in [0, 1]; None where no reward measures it.
        length: units, end token included.
        entropy: mean of -log p over its units, in nats per unit, at the temperature of sampling: an estimate of the
            policy's entropy there; None where it was sampled under a context.
        truncated: a limit cut it off.
        parsed: what the reward read in it, as JSON has it.
        log_probs: of each unit, at the temperature of sampling; empty where they were not asked for.
        steps: of an episode, the columns of each of its decisions; its length is then in steps of the simulator.
    """

    number: int
    text: str
    reward: float
    accuracy: float | None
    length: int
    entropy: float | None = None
    truncated: bool = False
    parsed: Any = None
    log_probs: tuple[float, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def right(self) -> bool:
        """Whether it is wholly right; where no accuracy is measured, whether it earned the whole reward."""
        return (self.reward if self.accuracy is None else self.accuracy) >= 1.0

    @property
    def said(self) -> str:
        """What it says: what a reward read in it, or else its text."""
        return self.text.strip() if self.parsed is None else repr(self.parsed)


@dataclass(frozen=True, slots=True)
class Answered:
    """A row with answers to it.

    Attributes:
        row: its columns as mmrl writes them: id, messages, images, videos, task, target, coordinates, dataset.
        answers: those that are still in question; of a selection, those that it keeps.
        sampled: how many answers were sampled.
        pass_rate: share of right answers among all that were sampled.
        majority: what most of these say (`Answer.said`), the first among equals.
        agreement: the share that says it.
        pairs: (better, worse), by `Answer.number`, that a rule has made of them.
    """

    row: Mapping[str, Any]
    answers: tuple[Answer, ...]
    sampled: int
    pass_rate: float
    majority: str
    agreement: float
    pairs: tuple[tuple[int, int], ...] = field(default=())

    @property
    def mean_reward(self) -> float:
        """Of the answers still in question; 0 where there are none."""
        return fmean(answer.reward for answer in self.answers) if self.answers else 0.0

    def keep(self, answers: Sequence[Answer]) -> Answered:
        """The row with these answers alone, and with the pairs that are whole among them."""
        numbers = {answer.number for answer in answers}
        whole = tuple(pair for pair in self.pairs if numbers.issuperset(pair))
        return replace(self, answers=tuple(answers), pairs=whole)


def answered(row: Mapping[str, Any], answers: Sequence[Answer]) -> Answered:
    """A row with all answers to it and their profile. Raises ValueError where there are none."""
    if not answers:
        raise ValueError("a row has a profile where it has answers")
    counts = Counter(answer.said for answer in answers)
    majority, count = counts.most_common(1)[0]
    rate = fmean(answer.right for answer in answers)
    return Answered(row, tuple(answers), len(answers), rate, majority, count / len(answers))


class Selection(Protocol):
    """A rule of selection, called with all rows that are left and with its settings.

    It gives the rows that it keeps, in their order, each with the answers that it keeps (`Answered.keep`). A row
    without answers is left out.
    """

    def __call__(self, rows: Sequence[Answered], settings: Any) -> Sequence[Answered]:
        """The rows that it keeps."""
