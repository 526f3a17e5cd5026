"""What parts make of a whole optimizer step before its first micro-batch.

A part with a `prepare` is given every row of its stream, scored by the policy as it is then, and returns a vector of
its own for each: bounds that the whole step agrees on, a mask of units, the weight of a row that depends on others.
Its coefficient or weight reads them in `Units.given_RK`, so that the gradient stays the same for any micro-batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.types import Likelihood
from mmrl.objectives.rows import Row, learned_mask, prompt_of
from mmrl.objectives.seen import Seen
from mmrl.recipe.coefficients import COEFFICIENTS
from mmrl.recipe.objective import Objective
from mmrl.recipe.parts import UnitPart
from mmrl.recipe.unit_weights import UNIT_WEIGHTS

# No weight can have this name.
COEFFICIENT = ""


def preparing_parts(objective: Objective, stream: str) -> Iterator[tuple[str, Any, Any]]:
    """(key in `Row.given`, `prepare`, settings) of each part of a stream that has one."""
    settings = objective.streams[stream]
    parts: list[tuple[str, UnitPart, Any]] = [
        (COEFFICIENT, COEFFICIENTS.get(settings.coefficient.kind), settings.coefficient),
        *((name, UNIT_WEIGHTS.get(own.kind), own) for name, own in settings.weights.items()),
    ]
    for key, part, own in parts:
        prepare = part.load_prepare()
        if prepare is not None:
            yield key, prepare, own


def see(row: Row, likelihood: Likelihood, index: int) -> Seen:
    """Row `index` of a scored micro-batch, on the CPU, as copies that hold nothing of the batch."""
    units = row.units
    log_probs = likelihood.log_probs_RU[index, :units].cpu().clone()
    learned_U = learned_mask([row], torch.ones(1, units, dtype=torch.bool))[0]
    whole = bool(learned_U.all())

    def apart(other_U: Tensor) -> Tensor:
        return other_U if whole else torch.where(learned_U, other_U.to(log_probs.dtype), log_probs)

    old = log_probs if row.old is None else apart(row.old.to(log_probs.dtype))
    sampled = row.decision.log_probs
    behaviour = old if sampled is None else apart(sampled.to(log_probs.dtype))
    entropy = None if likelihood.entropy_RU is None else likelihood.entropy_RU[index, :units].cpu().clone()
    if entropy is not None:
        # Units without a loss are no candidates for one.
        entropy = entropy * learned_U
    return Seen(
        log_probs,
        old,
        behaviour,
        None if row.reference is None else apart(row.reference),
        entropy,
        row.advantage,
        row.trajectory,
        prompt_of(row),
        row.success,
        {name: apart(log_probs_U) for name, log_probs_U in row.companions.items()},
        int(learned_U.sum()),
    )


def give(rows: Sequence[Row], seen: Mapping[int, Seen], objective: Objective) -> list[Row]:
    """The rows with what the parts of their streams make of the step."""
    given: dict[int, dict[str, Tensor]] = {}
    for stream in objective.streams:
        mine = [row for row in rows if row.stream == stream and id(row) in seen]
        for key, prepare, own in preparing_parts(objective, stream) if mine else ():
            for row, values in zip(mine, prepare([seen[id(row)] for row in mine], own), strict=True):
                given.setdefault(id(row), {})[key] = values
    return [replace(row, given=given[id(row)]) if id(row) in given else row for row in rows]
