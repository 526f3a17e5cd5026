"""Two evaluations of benchmarks beside each other: paired differences, how sure they are, and rows that flipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from pathlib import Path

from mmrl.contracts.errors import UserError
from mmrl.evaluation.figures import clustered_variance
from mmrl.evaluation.suite.draws import draws_figures, places_of
from mmrl.evaluation.suite.folder import Stored, stored_in
from mmrl.evaluation.suite.judging import reasoning_graded
from mmrl.evaluation.suite.protocol import named, protocol_changes
from mmrl.evaluation.suite.records import Record
from mmrl.evaluation.suite.runner import RESULTS
from mmrl.tracking.report.intervals import Z
from mmrl.tracking.text_table import aligned

# Rows that are named of those that flipped.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Paired:
    """One benchmark, of two evaluations.

    Attributes:
        name: the benchmark's.
        rows: that both have answered.
        first, second: mean score of each over these rows.
        interval: 95 % of the difference of the means, clustered by picture or video; None of one cluster.
        lost, won: rows whose answers the second has worse, and better.
        p: two-sided, of the sign test over these rows: how likely so uneven a split is where neither is better.
        notes: what differs in their protocols, and what one of them lacks.
        draws: where both have several answers to a row: (name, of the first, of the second) of `draws_figures`.
    """

    name: str
    rows: int
    first: float
    second: float
    interval: tuple[float, float] | None
    lost: tuple[str, ...]
    won: tuple[str, ...]
    p: float
    notes: tuple[str, ...] = ()
    draws: tuple[tuple[str, float, float], ...] = ()

    @property
    def change(self) -> float:
        """What the second has more."""
        return self.second - self.first


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds results of benchmarks."""
    return (folder / RESULTS).is_file() and not (folder / "config.yaml").is_file()


def compare_evaluations(first: Path, second: Path, across: bool = False) -> list[Paired]:
    """The benchmarks that both have.

    Args:
        across: also those under different protocols, with what differs.

    Raises:
        UserError: they have none in common, or protocols differ.
    """
    here, there = stored_in(first), stored_in(second)
    names = [name for name in here if name in there]
    if not names:
        raise UserError(
            f"'{first}' ({', '.join(here)}) and '{second}' ({', '.join(there)}) have no benchmark in common"
        )
    pairs = []
    for name in names:
        changes = protocol_changes(here[name].protocol, there[name].protocol)
        if changes and not across:
            raise UserError(
                f"benchmark '{name}' was asked under different protocols ({named(changes)}); --across-protocols "
                "compares them anyway"
            )
        notes = tuple(f"protocol: {change}" for change in changes)
        pairs.append(_paired(name, here[name], there[name], notes))
    return pairs


def _paired(name: str, first: Stored, second: Stored, notes: Sequence[str]) -> Paired:
    here, there = first.rows, second.rows
    rows = sorted(here.keys() & there.keys())
    if not rows:
        raise UserError(f"benchmark '{name}': no row is answered in both folders")
    alone = len(here.keys() ^ there.keys())
    before, after = ([records[row] for row in rows] for records in (here, there))
    changes = [b.score - a.score for a, b in zip(before, after)]
    lost = tuple(a.id for a, change in zip(before, changes) if change < 0)
    won = tuple(a.id for a, change in zip(before, changes) if change > 0)
    return Paired(
        name,
        len(rows),
        _mean(before),
        _mean(after),
        _interval(changes, [record.cluster or record.id for record in before]),
        lost,
        won,
        sign_test(len(lost), len(won)),
        (*notes, *([f"{alone} rows are answered in one folder only, and left out"] if alone else [])),
        _draws(first, second, rows),
    )


def _draws(first: Stored, second: Stored, rows: Sequence[int]) -> tuple[tuple[str, float, float], ...]:
    """The figures of several answers to these rows that both have: pass@k side by side."""
    if min(first.samples, second.samples) < 2:
        return ()
    before, after = (
        draws_figures(
            {i: each.records[i] for i in places_of(rows, each.samples)}, each.samples, reasoning_graded(each.protocol)
        )
        for each in (first, second)
    )
    return tuple((name, before[name], after[name]) for name in before if name in after)


def _mean(records: Sequence[Record]) -> float:
    return sum(record.score for record in records) / len(records)


def _interval(changes: Sequence[float], clusters: Sequence[str]) -> tuple[float, float] | None:
    """The mean change ± 1.96 standard errors, clustered; see `mmrl.evaluation.figures.interval`."""
    mean = sum(changes) / len(changes)
    variance = clustered_variance([change - mean for change in changes], clusters)
    if variance is None:
        return None
    half = Z * sqrt(variance) / len(changes)
    return mean - half, mean + half


def sign_test(lost: int, won: int) -> float:
    """The two-sided probability of a split at least so uneven, each row being a fair coin; 1 without rows."""
    count, fewer = lost + won, min(lost, won)
    tail = sum(comb(count, i) for i in range(fewer + 1))
    return min(1.0, 2.0 * tail / 2**count)


def render(pairs: Sequence[Paired], labels: tuple[str, str]) -> str:
    """The comparison as lines of text."""
    cells = [("benchmark", *labels, "change", "95 % interval", "lost", "won", "p", "rows")]
    for pair in pairs:
        ends = f"{pair.interval[0]:+.3f} – {pair.interval[1]:+.3f}" if pair.interval else "–"
        scores = (f"{pair.first:.3f}", f"{pair.second:.3f}", f"{pair.change:+.3f}", ends)
        cells.append((pair.name, *scores, str(len(pair.lost)), str(len(pair.won)), f"{pair.p:.2g}", str(pair.rows)))
    lines = aligned(cells)
    curves = [
        (pair.name, name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
        for pair in pairs
        for name, before, after in pair.draws
    ]
    lines += ["", *aligned([("benchmark", "of several answers", *labels, "change"), *curves]), ""] if curves else []
    for pair in pairs:
        for word, ids in (("lost", pair.lost), ("won", pair.won)):
            if ids:
                more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
                lines.append(f"{pair.name}: {word} {', '.join(ids[:SHOWN])}{more}")
        lines += [f"{pair.name}: {note}" for note in pair.notes]
    return "\n".join(lines)
