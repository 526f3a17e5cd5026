"""Asks a policy the rows of a benchmark: media are read ahead, answers are scored and written beside generation."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from mmrl.contracts.benchmark import Benchmark, Weighted
from mmrl.contracts.engine import Completion, Engine, Request
from mmrl.contracts.errors import BadSample
from mmrl.contracts.policy import Policy, opening_of
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import Group, Sample
from mmrl.evaluation.rows import MediaAhead, media_ahead
from mmrl.evaluation.suite.judging import AnswerJudge
from mmrl.evaluation.suite.records import Record
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from mmrl.rollouts.sources import sample_each

ANSWERS = "answers"
# Batches whose answers wait to be scored and written.
WAITING = 2
PREFETCH_GB = 1.0

Write = Callable[[Sequence[Record]], object]


@dataclass(frozen=True, slots=True)
class Asker:
    """What asks a benchmark.

    Attributes:
        sampling: how answers are sampled.
        seed: of all sampling; a row's own follows from it and the row, so that no answer depends on the rows beside it.
        chunk: actions per decision of an episode.
        samples: answers to each row, which stand one behind the other; see `Draws`.
        judge: grades what rules do not hold for right; None: rules alone score.
    """

    policy: Policy
    engine: Engine
    sampling: SamplingConfig
    seed: int
    chunk: int = 1
    samples: int = 1
    judge: AnswerJudge | None = None

    def run(
        self, benchmark: Benchmark, rows: Sequence[Sample], wanted: Sequence[int], batch_size: int, write: Write
    ) -> None:
        """Asks some rows, and gives the records of each batch to `write`, in order, from another thread."""
        simulators = Simulators(getattr(benchmark, "simulators", None) or {})
        preparer = Preparer(self.policy, Rewarder([], benchmark.score))
        means = Means(self.policy, self.engine, simulators, preparer.rewarder)
        try:
            with media_ahead(self.policy, None, PREFETCH_GB) as ahead, _one_after_the_other() as later:
                for batch, coming in _batches(rows, wanted, batch_size, ahead):
                    outcomes = self._ask(batch, coming, preparer, means, ahead)
                    later(lambda outcomes=outcomes: write(self._records(benchmark, outcomes)))
        finally:
            simulators.close()

    def _ask(
        self,
        batch: Sequence[tuple[int, Sample]],
        coming: Sequence[Sample],
        preparer: Preparer,
        means: Means,
        ahead: MediaAhead,
    ) -> list[_Outcome]:
        ahead.want([sample for _, sample in batch], coming)
        outcomes: list[_Outcome] = []
        ready: list[int] = []
        for row, sample in batch:
            before = outcomes[-1] if outcomes and outcomes[-1].row // self.samples == row // self.samples else None
            if before is not None:
                # Another draw of the same row.
                outcomes.append(replace(before, row=row))
                ready += [len(outcomes) - 1] if before.failed is None else []
                continue
            try:
                item = preparer.make(sample)
            except BadSample as error:
                outcomes.append(_Outcome(row, sample, failed=str(error)))
                continue
            outcomes.append(_Outcome(row, item.sample, ready=item))
            ready.append(len(outcomes) - 1)
        answered = [i for i in ready if outcomes[i].sample.kind == ANSWERS]
        for i, outcome in zip(answered, self._answers([outcomes[i] for i in answered]), strict=True):
            outcomes[i] = outcome
        for draw in range(self.samples):
            played = [i for i in ready if outcomes[i].sample.kind != ANSWERS and self._draw(outcomes[i].row) == draw]
            terms = Terms(self.sampling, seed=drawn_seed(self.seed, draw), chunk=self.chunk)
            groups = sample_each(means, [outcomes[i].made for i in played], terms) if played else []
            for i, group in zip(played, groups, strict=True):
                outcomes[i] = replace(outcomes[i], group=group)
        return outcomes

    def _records(self, benchmark: Benchmark, outcomes: Sequence[_Outcome]) -> list[Record]:
        if self.judge is None:
            return [outcome.record(benchmark) for outcome in outcomes]
        with ThreadPoolExecutor(self.judge.config.concurrency) as threads:
            return list(threads.map(lambda outcome: outcome.record(benchmark, self.judge), outcomes))

    def _draw(self, place: int) -> int:
        return place % self.samples

    def _answers(self, outcomes: Sequence[_Outcome]) -> list[_Outcome]:
        seeds = [row_seed(drawn_seed(self.seed, self._draw(o.row)), o.sample) for o in outcomes]
        requests = [Request(o.made.prompts[0], seed=seed) for o, seed in zip(outcomes, seeds, strict=True)]
        completions = self.engine.generate(requests, self.sampling, self.seed)
        begun, policy = opening_of(self.policy), self.policy
        texts = [c.text if c.text is not None else policy.decode_text(c.tokens) for (c,) in completions]
        return [
            replace(outcome, failed=completion.failed)
            if completion.failed is not None
            else replace(outcome, text=begun + text, completion=completion)
            for outcome, text, (completion,) in zip(outcomes, texts, completions, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A row and what came of asking it."""

    row: int
    sample: Sample
    ready: Ready | None = None
    failed: str | None = None
    text: str = ""
    completion: Completion | None = None
    group: Group | None = None

    @property
    def made(self) -> Ready:
        """The sample made ready. Raises ValueError where it failed."""
        if self.ready is None:
            raise ValueError(f"row {self.row} could not be made ready: {self.failed}")
        return self.ready

    def record(self, benchmark: Benchmark, judge: AnswerJudge | None = None) -> Record:
        """The line that is written, with the answer's score."""
        sample = self.sample
        cluster = benchmark.cluster(sample) if isinstance(benchmark, Weighted) else ""
        target = dict(sample.target)
        blank = Record(self.row, sample.id, sample.question, target, failed=self.failed, cluster=cluster)
        if self.group is not None:
            return self._played(blank, self.group)
        if self.completion is None:
            return blank
        completion = self.completion
        prompt = self.made.prompts[0]
        score, verdicts = float(benchmark.score(self.text, sample)), {}
        if judge is not None:
            score, verdicts = judge.settle(benchmark, self.text, sample, score)
        return replace(
            blank,
            answer=self.text,
            score=score,
            judge=verdicts,
            truncated=completion.truncated,
            tokens=len(completion.tokens),
            prompt_tokens=prompt.length if completion.prompt_tokens is None else completion.prompt_tokens,
            coordinates=sample.coordinates,
            frames=getattr(prompt, "frames", 0),
        )

    @staticmethod
    def _played(blank: Record, group: Group) -> Record:
        (trajectory,) = group.trajectories
        facts: dict[str, Any] = {}
        if trajectory.episode is not None:
            episode = trajectory.episode
            facts = {
                "success_once": episode.success_once,
                "success_at_end": episode.success_at_end,
                "length": episode.length,
            }
        return replace(
            blank,
            answer=trajectory.text,
            score=trajectory.measured(),
            truncated=trajectory.truncated,
            tokens=trajectory.units,
            facts=facts,
        )


def drawn_seed(seed: int, draw: int) -> int:
    """The seed of a draw of every row: the first has the run's own."""
    return seed if not draw else _seed(f"{seed}#{draw}")


def row_seed(seed: int, sample: Sample) -> int:
    """The seed of a row's answer: of the run's and the row alone."""
    return _seed(f"{seed}/{sample.dataset}/{sample.row}")


def _seed(words: str) -> int:
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:7], "big")


def _batches(
    rows: Sequence[Sample], wanted: Sequence[int], size: int, ahead: MediaAhead
) -> Iterator[tuple[list[tuple[int, Sample]], list[Sample]]]:
    """`size` rows at a time, each batch with as many samples as are read ahead behind it."""
    places = iter(wanted)
    built: deque[tuple[int, Sample]] = deque()
    while True:
        while len(built) < size + ahead.count and (place := next(places, None)) is not None:
            built.append((place, rows[place]))
        if not built:
            return
        batch = [built.popleft() for _ in range(min(size, len(built)))]
        yield batch, [sample for _, sample in built]


@contextmanager
def _one_after_the_other() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Calls run in one thread, in order, a few behind; what one raises is raised here. All have run at the end."""
    waiting: deque[Future[object]] = deque()
    with ThreadPoolExecutor(1) as thread:

        def later(call: Callable[[], object]) -> None:
            while len(waiting) >= WAITING:
                waiting.popleft().result()
            waiting.append(thread.submit(call))

        yield later
        while waiting:
            waiting.popleft().result()
