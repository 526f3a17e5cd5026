"""Several answers to each question: the rows that are asked, and what the answers of a row come to together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import comb, fsum
from statistics import fmean
from typing import Any

from mmrl.contracts.types import Sample
from mmrl.data.rows import Rows
from mmrl.evaluation.suite.judging import graded
from mmrl.evaluation.suite.records import Record
from vision_rewards.rewards.majority import majority_answer, majority_scores


class Draws(Rows):
    """Every row `samples` times: place i is draw i mod `samples` of row i // `samples`."""

    def __init__(self, rows: Sequence[Sample], samples: int):
        self._rows, self._samples = rows, samples

    def __len__(self) -> int:
        return len(self._rows) * self._samples

    def _row(self, row: int) -> Sample:
        return self._rows[row // self._samples]


def places_of(rows: Sequence[int], samples: int) -> list[int]:
    """Where the draws of some rows stand, a row's draws one behind the other."""
    return [row * samples + draw for row in rows for draw in range(samples)]


def samples_of(protocol: Mapping[str, Any]) -> int:
    """Answers to each row, as `Protocol` has them."""
    return int(protocol["decoding"].get("samples", 1))


def by_row(records: Mapping[int, Record], samples: int) -> dict[int, list[Record]]:
    """Row -> the records of its draws, in order."""
    rows: dict[int, list[Record]] = defaultdict(list)
    for place, record in sorted(records.items()):
        rows[place // samples].append(record)
    return dict(rows)


def means_of(records: Mapping[int, Record], samples: int) -> dict[int, Record]:
    """Row -> its first record, with the mean score of all."""
    return {
        row: replace(drawn[0], row=row, score=fmean(record.score for record in drawn))
        for row, drawn in by_row(records, samples).items()
    }


def best_of(scores: Sequence[float], k: int) -> float:
    """The expected highest score of k answers that are drawn without replacement from these.

    For scores of 0 and 1 it is the unbiased pass@k, 1 - C(n - right, k) / C(n, k) (Chen et al., arXiv 2107.03374): the
    i-th lowest of n scores is the highest of C(i - 1, k - 1) of the C(n, k) choices.
    """
    ways = comb(len(scores), k)
    return fsum(score * comb(i, k - 1) for i, score in enumerate(sorted(scores))) / ways


def counts_of(samples: int) -> list[int]:
    """1, 2, 4, … and `samples` itself."""
    powers = [2**i for i in range(samples.bit_length()) if 2**i < samples]
    return [*powers, samples]


def draws_figures(records: Mapping[int, Record], samples: int, reasoning: bool = False) -> dict[str, float]:
    """`pass@k` for k of `counts_of`, and of answers in text `majority` and `distinct`, each a mean over the rows.

    `distinct` is how many different texts a row's answers are, as a share of them.

    With a judge of `reasoning` also `cot_pass@k`: right answers with sound reasoning alone count (arXiv 2506.14245).

    `majority` is what the answer scores that most of a row's draws give (`majority_answer`); 0 where none has the most.
    """
    rows = list(by_row(records, samples).values())
    figures = {
        f"pass@{k}": fmean(best_of([record.score for record in drawn], k) for drawn in rows) for k in counts_of(samples)
    }
    if any(record.facts for drawn in rows for record in drawn):
        return figures
    if reasoning:
        sound = [[record.score * graded(record.judge, "reasoning") for record in drawn] for drawn in rows]
        figures |= {f"cot_pass@{k}": fmean(best_of(scores, k) for scores in sound) for k in counts_of(samples)}
    texts = [{record.answer.strip() for record in drawn} for drawn in rows]
    figures["distinct"] = fmean(len(each) / len(drawn) for each, drawn in zip(texts, rows, strict=True))
    return {**figures, "majority": fmean(map(_majority, rows))}


def _majority(drawn: Sequence[Record]) -> float:
    options = drawn[0].target.get("options")
    texts = [record.answer for record in drawn]
    if majority_answer(texts, options=options) is None:
        return 0.0
    chosen = majority_scores(texts, options=options)
    return fmean(record.score for record, winner in zip(drawn, chosen, strict=True) if winner)
