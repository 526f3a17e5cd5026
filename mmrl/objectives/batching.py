"""Rows of a forward pass: as many as a budget of tokens takes."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.contracts.policy import Policy
from mmrl.objectives.rows import Row


def micro_batches(rows: Sequence[Row], policy: Policy, budget: int) -> list[list[Row]]:
    """Splits rows into batches of at most `budget` tokens; a row above the budget gets a batch of its own.

    Rows of one prompt stay together where they fit, so the prompt is computed once; prompts are sorted by length to
    save padding. The gradient does not depend on the split.
    """
    by_prompt: dict[tuple, list[Row]] = {}
    for row in rows:
        decision = row.decision
        key = (row.temperature, decision.restrict or "", id(decision.prompt))
        by_prompt.setdefault(key, []).append(row)
    pieces = [piece for group in by_prompt.values() for piece in _fit(group, policy, budget)]
    pieces.sort(key=lambda p: (p[0].temperature, p[0].decision.restrict or "", _tokens(policy, [p])))
    batches: list[list[list[Row]]] = []
    for piece in pieces:
        last = batches[-1] if batches else None
        if (
            last is not None
            and last[0][0].temperature == piece[0].temperature
            and last[0][0].decision.restrict == piece[0].decision.restrict
            and _tokens(policy, [*last, piece]) <= budget
        ):
            last.append(piece)
        else:
            batches.append([piece])
    return [[row for piece in batch for row in piece] for batch in batches]


def _fit(group: list[Row], policy: Policy, budget: int) -> list[list[Row]]:
    """Cuts the rows of one prompt into pieces within the budget."""
    pieces: list[list[Row]] = [[]]
    for row in group:
        if pieces[-1] and _tokens(policy, [[*pieces[-1], row]]) > budget:
            pieces.append([])
        pieces[-1].append(row)
    return pieces


def _tokens(policy: Policy, pieces: Sequence[Sequence[Row]]) -> int:
    return policy.batch_tokens([p[0].decision.prompt for p in pieces], [[row.units for row in p] for p in pieces])
