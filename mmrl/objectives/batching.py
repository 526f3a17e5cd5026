"""Rows of a forward pass: as many as a budget of tokens takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmrl.contracts.policy import Policy
from mmrl.objectives.rows import Row

# Batches that each of several processes gets at least, where there are prompts enough: with one each, the one with the
# heaviest would keep the others waiting.
BATCHES_EACH = 2


def micro_batches(rows: Sequence[Row], policy: Policy, budget: int, processes: int = 1) -> list[list[Row]]:
    """Splits rows into batches of at most `budget` tokens; a row above the budget gets a batch of its own.

    Rows of one prompt stay together where they fit, so the prompt is computed once; prompts are sorted by length to
    save padding. The gradient does not depend on the split.

    Args:
        processes: that share the batches: smaller ones, so that each has `BATCHES_EACH`, but no prompt is computed more
            often for it.
    """
    by_prompt: dict[tuple, list[Row]] = {}
    for row in rows:
        decision = row.decision
        key = (row.temperature, decision.restrict or "", id(decision.prompt))
        by_prompt.setdefault(key, []).append(row)
    if processes > 1 and rows:
        tokens = [_Batch(policy, group).tokens for group in by_prompt.values()]
        budget = min(budget, max(max(tokens), math.ceil(sum(tokens) / (BATCHES_EACH * processes))))
    pieces = [_Batch(policy, piece) for group in by_prompt.values() for piece in _fit(group, policy, budget)]
    pieces.sort(key=lambda piece: (piece.temperature, piece.restrict or "", piece.tokens))
    batches: list[_Batch] = []
    for piece in pieces:
        if not batches or not batches[-1].take(piece, budget):
            batches.append(piece)
    return [batch.rows for batch in batches]


def tokens_of(rows: Sequence[Row], policy: Policy) -> int:
    """Tokens of a batch, prompts and padding included."""
    by_prompt: dict[int, list[Row]] = {}
    for row in rows:
        by_prompt.setdefault(id(row.decision.prompt), []).append(row)
    groups = [*by_prompt.values()]
    lengths = [[row.units for row in group] for group in groups]
    return policy.batch_tokens([group[0].decision.prompt for group in groups], lengths)


def _fit(group: list[Row], policy: Policy, budget: int) -> list[list[Row]]:
    """Cuts the rows of one prompt into pieces within the budget."""
    pieces: list[list[Row]] = []
    lengths: list[int] = []
    for row in group:
        lengths.append(row.units)
        if pieces and policy.batch_tokens([row.decision.prompt], [lengths]) <= budget:
            pieces[-1].append(row)
        else:
            pieces.append([row])
            lengths = lengths[-1:]
    return pieces


class _Batch:
    """Rows of one forward pass, at first those of one prompt; each is measured once."""

    def __init__(self, policy: Policy, rows: Sequence[Row]):
        self.rows = list(rows)
        self.temperature, self.restrict = rows[0].temperature, rows[0].decision.restrict
        self._policy = policy
        self._prompts = [rows[0].decision.prompt]
        self._lengths = [[row.units for row in rows]]

    @property
    def tokens(self) -> int:
        return self._policy.batch_tokens(self._prompts, self._lengths)

    def take(self, piece: _Batch, budget: int) -> bool:
        """Adds the rows of another prompt where they are alike and all stay within the budget, and says whether."""
        if (self.temperature, self.restrict) != (piece.temperature, piece.restrict):
            return False
        count = len(self._prompts)
        self._prompts += piece._prompts
        self._lengths += piece._lengths
        if self.tokens > budget:
            del self._prompts[count:], self._lengths[count:]
            return False
        self.rows += piece.rows
        return True
