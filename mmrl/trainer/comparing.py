"""What other policies say of a step's units: the reference and companions, each asked once for a rollout batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mmrl.contracts.policy import Policy, without_dropout
from mmrl.contracts.world import ALONE, World
from mmrl.objectives.batching import micro_batches
from mmrl.objectives.rows import Row, collate
from mmrl.policies.companions import Companion, comparing
from mmrl.recipe.companions import REFERENCE
from mmrl.recipe.objective import Objective
from mmrl.trainer.step import score

Companions = Mapping[str, Companion]
Heads = Mapping[str, Callable[[Tensor], Tensor]]


@contextmanager
def standing_in(name: str, policy: Policy, companions: Companions) -> Iterator[Policy]:
    """Inside, the policy of a name, ready to score: the reference, or a companion."""
    if name == REFERENCE:
        with policy.reference():
            yield policy
    else:
        with companions[name].scoring() as other:
            yield other


def score_others(
    rows: Sequence[Row],
    objective: Objective,
    policy: Policy,
    companions: Companions,
    budget: int,
    world: World = ALONE,
) -> list[Row]:
    """The rows with what the objective reads of other policies: log-probs, and the states of whole distributions.

    Of several processes each scores its deal of the rows. States, which are large, each has of all of them.
    """
    rows = list(rows)
    for ask, names_of in ((partial(score, world=world), objective.compared_with), (keep, objective.distributions)):
        for name in sorted(frozenset().union(*map(names_of, objective.streams))):
            chosen = [row for row in rows if name in names_of(row.stream)]
            if not chosen:
                continue
            with standing_in(name, policy, companions) as other:
                answered = iter(ask(chosen, name, other, budget))
            rows = [next(answered) if name in names_of(row.stream) else row for row in rows]
    return rows


@torch.no_grad()
def keep(rows: Sequence[Row], name: str, policy: Policy, budget: int) -> list[Row]:
    """Copies of `rows` with the policy's hidden state at each unit under `name`, in the CPU's memory."""
    states: dict[int, Tensor] = {}
    asked = comparing(policy)
    with without_dropout(policy):
        for batch in micro_batches(rows, policy, budget):
            # [N, H], row after row.
            pieces = asked.unit_states(collate(batch)).cpu().split([row.units for row in batch])
            states |= {id(row): piece.clone() for row, piece in zip(batch, pieces, strict=True)}
    return [replace(row, states={**row.states, name: states[id(row)]}) for row in rows]


def heads_of(objective: Objective, policy: Policy, companions: Companions) -> Heads:
    """From kept states to logits, for each policy whose whole distributions the objective reads."""
    heads: dict[str, Callable[[Tensor], Tensor]] = {}
    for name in sorted({name for stream in objective.streams for name in objective.distributions(stream)}):
        if name == REFERENCE:
            with policy.reference():
                heads[name] = _on_its_device(comparing(policy).output_head(), policy)
        else:
            heads[name] = companions[name].logits
    return heads


def _on_its_device(head: Callable[[Tensor], Tensor], policy: Policy) -> Callable[[Tensor], Tensor]:
    return lambda states_NH: head(states_NH.to(policy.device))
