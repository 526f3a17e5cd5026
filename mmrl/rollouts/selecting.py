"""The rules of selection: pure functions of the rows that are left and a rule's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mmrl.contracts.errors import UserError, first_line
from mmrl.contracts.generated import Answer, Answered
from mmrl.recipe import selections as rules
from mmrl.recipe.importing import import_named
from mmrl.recipe.selections import SelectionSettings


@dataclass(frozen=True, slots=True)
class Count:
    """What one rule left: its settings in words, and the rows and answers before and after it."""

    rule: str
    rows: tuple[int, int]
    answers: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.rule} {self.answers[0]} -> {self.answers[1]}"


def select(rows: Sequence[Answered], settings: Sequence[SelectionSettings]) -> tuple[list[Answered], list[Count]]:
    """The rows and answers that all rules keep, each applied to what the one before it left, and the counts.

    Raises:
        UserError: nothing is left, or a rule of one's own fails or gives something else than rows.
    """
    left, counts = [row for row in rows if row.answers], []
    for each in settings:
        before = left
        rule = import_named(each.adapter)
        left = [row for row in _checked(rule(before, each), each) if row.answers]
        sizes = [(len(part), sum(len(row.answers) for row in part)) for part in (before, left)]
        counts.append(Count(_in_words(each), (sizes[0][0], sizes[1][0]), (sizes[0][1], sizes[1][1])))
        if not left:
            total = sum(len(row.answers) for row in rows)
            raise UserError(
                f"select: nothing is left of {total} answers to {len(rows)} rows: {'; '.join(map(str, counts))}; "
                f"loosen {each.name}, or sample more answers (rollout.n)"
            )
    return left, counts


def _checked(kept: Iterable[Answered], settings: SelectionSettings) -> list[Answered]:
    result = list(kept) if isinstance(kept, Iterable) else [kept]
    if not all(isinstance(row, Answered) for row in result):
        raise UserError(f"select: '{settings.name}' gave something else than rows (mmrl.contracts.generated.Answered)")
    return result


def _in_words(settings: SelectionSettings) -> str:
    values = settings.model_dump(exclude={"name"}, exclude_none=True)
    written = ", ".join(f"{key} {value}" for key, value in values.items())
    return f"{settings.name} ({written})" if written else settings.name


def _score(answer: Answer) -> float:
    return answer.reward if answer.accuracy is None else answer.accuracy


def right(rows: Sequence[Answered], settings: rules.RightSettings) -> list[Answered]:
    """See `RightSettings`."""
    return [row.keep([a for a in row.answers if _score(a) >= settings.at]) for row in rows]


def wrong(rows: Sequence[Answered], settings: rules.WrongSettings) -> list[Answered]:
    """See `WrongSettings`."""
    return [row.keep([a for a in row.answers if _score(a) < settings.at]) for row in rows]


def _first_by(answers: Sequence[Answer], key: Callable[[Answer], float], k: int) -> list[Answer]:
    """The k answers of lowest key, equal ones by their order, in the order of sampling."""
    chosen = sorted(answers, key=lambda answer: (key(answer), answer.number))[:k]
    return sorted(chosen, key=lambda answer: answer.number)


def best(rows: Sequence[Answered], settings: rules.BestSettings) -> list[Answered]:
    """See `BestSettings`."""
    return [row.keep(_first_by(row.answers, lambda a: -a.reward, settings.k)) for row in rows]


def worst(rows: Sequence[Answered], settings: rules.WorstSettings) -> list[Answered]:
    """See `WorstSettings`."""
    return [row.keep(_first_by(row.answers, lambda a: a.reward, settings.k)) for row in rows]


def pass_rate(rows: Sequence[Answered], settings: rules.PassRateSettings) -> list[Answered]:
    """See `PassRateSettings`."""
    return [row for row in rows if settings.low <= row.pass_rate <= settings.high]


def inconsistent(rows: Sequence[Answered], settings: rules.InconsistentSettings) -> list[Answered]:
    """See `InconsistentSettings`."""
    return [row for row in rows if 0.0 < row.pass_rate < 1.0]


def _count(settings: rules.HardSettings, total: int) -> int:
    if settings.k is not None:
        return settings.k
    return max(1, round((settings.share or 0.0) * total))


def hard(rows: Sequence[Answered], settings: rules.HardSettings) -> list[Answered]:
    """See `HardSettings`."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].pass_rate, rows[i].mean_reward, i))
    return [rows[i] for i in sorted(order[: _count(settings, len(rows))])]


def top(rows: Sequence[Answered], settings: rules.TopSettings) -> list[Answered]:
    """See `TopSettings`."""
    places = [(i, answer) for i, row in enumerate(rows) for answer in row.answers]
    places.sort(key=lambda place: (-place[1].reward, place[0], place[1].number))
    taken = {(i, answer.number) for i, answer in places[: _count(settings, len(places))]}
    return [row.keep([a for a in row.answers if (i, a.number) in taken]) for i, row in enumerate(rows)]


def shortest_right(rows: Sequence[Answered], settings: rules.ShortestSettings) -> list[Answered]:
    """See `ShortestSettings`."""
    return [row.keep(_first_by([a for a in row.answers if a.right], lambda a: a.length, settings.k)) for row in rows]


def longest_right(rows: Sequence[Answered], settings: rules.LongestSettings) -> list[Answered]:
    """See `LongestSettings`."""
    return [row.keep(_first_by([a for a in row.answers if a.right], lambda a: -a.length, settings.k)) for row in rows]


def majority(rows: Sequence[Answered], settings: rules.MajoritySettings) -> list[Answered]:
    """See `MajoritySettings`."""
    agreed = [row for row in rows if row.agreement >= settings.agreement]
    return [row.keep([a for a in row.answers if a.said == row.majority]) for row in agreed]


def distinct(rows: Sequence[Answered], settings: rules.DistinctSettings) -> list[Answered]:
    """See `DistinctSettings`."""
    first = [{answer.text: answer.number for answer in reversed(row.answers)} for row in rows]
    return [row.keep([a for a in row.answers if numbers[a.text] == a.number]) for row, numbers in zip(rows, first)]


def length(rows: Sequence[Answered], settings: rules.LengthSettings) -> list[Answered]:
    """See `LengthSettings`."""

    def fits(answer: Answer) -> bool:
        short = settings.high is None or answer.length <= settings.high
        return settings.low <= answer.length and short and (settings.truncated or not answer.truncated)

    return [row.keep([a for a in row.answers if fits(a)]) for row in rows]


def contrast(rows: Sequence[Answered], settings: rules.ContrastSettings) -> list[Answered]:
    """See `ContrastSettings`."""
    paired = []
    for row in rows:
        pair = _pair(row, settings)
        if pair is not None:
            better, worse = pair
            kept = [a for a in row.answers if a.number in (better.number, worse.number)]
            paired.append(replace(row.keep(kept), pairs=((better.number, worse.number),)))
    return paired


def _pair(row: Answered, settings: rules.ContrastSettings) -> tuple[Answer, Answer] | None:
    """The pair of a row: of the widest difference in reward, but right against wrong of the least."""
    pairs = [(a, b) if a.reward >= b.reward else (b, a) for a, b in combinations(row.answers, 2)]
    if settings.by == "accuracy":
        pairs = [(a, b) for a in row.answers for b in row.answers if a.right and not b.right]
    if settings.by == "form":
        pairs = [(a, b) for a, b in pairs if a.right and b.right and a.said == b.said]
    differ = settings.by != "accuracy"
    pairs = [(a, b) for a, b in pairs if a.reward - b.reward >= settings.margin and (not differ or a.reward > b.reward)]
    if not pairs:
        return None
    if differ:
        return max(pairs, key=lambda pair: (pair[0].reward - pair[1].reward, -pair[0].number, -pair[1].number))
    return max(pairs, key=lambda pair: (pair[0].reward, pair[1].reward, -pair[0].number, -pair[1].number))


def per(rows: Sequence[Answered], settings: rules.PerSettings) -> list[Answered]:
    """See `PerSettings`. Raises UserError where a row lacks the column."""
    places: dict[str, list[tuple[int, int]]] = {}
    for i, row in enumerate(rows):
        if settings.column not in row.row:
            raise UserError(
                f"select: per: row {row.row.get('id')} has no column '{settings.column}'; it has {', '.join(row.row)}"
            )
        places.setdefault(str(row.row[settings.column]), []).extend((i, a.number) for a in row.answers)
    drawn: set[tuple[int, int]] = set()
    for members in places.values():
        order = np.random.default_rng(settings.seed).permutation(len(members))[: settings.k]
        drawn |= {members[i] for i in order}
    return [row.keep([a for a in row.answers if (i, a.number) in drawn]) for i, row in enumerate(rows)]


def own(rows: Sequence[Answered], settings: rules.FunctionSettings) -> Sequence[Answered]:
    """See `FunctionSettings`. Raises UserError where the function fails."""
    function = import_named(settings.name)
    try:
        return function(list(rows), **settings.params)
    except Exception as error:
        raise UserError(f"select: '{settings.name}' failed: {type(error).__name__}: {first_line(error)}") from error
