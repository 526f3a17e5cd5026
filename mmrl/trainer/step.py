"""From a step's rows to optimizer steps, with one global normaliser per stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmrl.contracts.errors import DeadPolicy
from mmrl.contracts.policy import Policy, without_dropout
from mmrl.contracts.types import Distribution
from mmrl.contracts.world import ALONE, World
from mmrl.objectives import kernel
from mmrl.objectives.batching import micro_batches, tokens_of
from mmrl.objectives.preparing import give, preparing_parts, see
from mmrl.objectives.rows import Row, collate, normaliser, prompt_of
from mmrl.objectives.schedules import stream_weights
from mmrl.objectives.seen import Seen
from mmrl.policies.alive import refuse_dead
from mmrl.policies.companions import comparing
from mmrl.recipe.auxiliary_terms import AUXILIARY_TERMS
from mmrl.recipe.companions import RESERVED
from mmrl.recipe.objective import Objective
from mmrl.recipe.training import MinibatchBy

Known = TypeVar("Known")


@torch.no_grad()
def score(rows: Sequence[Row], field: str, policy: Policy, budget: int, world: World = ALONE) -> list[Row]:
    """Copies of `rows` with their log-probs under `policy` in `field`, without dropout.

    `field` is `old`, `reference` or the name of a companion. Under `old` they also carry the critic's values, where
    the policy has one. Raises DeadPolicy where these are not finite.
    """

    def score_batch(batch: Sequence[Row]) -> list[dict[str, Any]]:
        likelihood = policy.log_probs(collate(batch))
        log_probs, values = likelihood.log_probs_RU.cpu(), likelihood.value_RV
        refuse_dead(f"log-probs ({field})", [log_probs[likelihood.mask_RU.cpu()], values])
        scored: list[dict[str, Any]] = []
        for i, row in enumerate(batch):
            own = log_probs[i, : row.units].clone()
            scored.append({field: own} if field in RESERVED else {"companions": {**row.companions, field: own}})
            if field == "old" and values is not None:
                scored[-1]["values"] = values[i].cpu().clone()
        return scored

    with without_dropout(policy):
        known = _over_batches(f"log-probs ({field})", rows, policy, budget, world, score_batch)
    return [replace(row, **known[id(row)]) for row in rows]


def _over_batches(
    what: str,
    rows: Sequence[Row],
    policy: Policy,
    budget: int,
    world: World,
    do: Callable[[Sequence[Row]], Sequence[Known]],
) -> dict[int, Known]:
    """What `do` gives for the rows of each micro-batch, by the identity of each row; see `World.each`."""
    batches = micro_batches(rows, policy, budget, world.size)
    parts = world.each(what, batches, do, lambda batch: tokens_of(batch, policy))
    return {id(row): known for batch, part in zip(batches, parts) for row, known in zip(batch, part, strict=True)}


@torch.no_grad()
def prepare(rows: Sequence[Row], objective: Objective, policy: Policy, budget: int, world: World = ALONE) -> list[Row]:
    """The rows of one optimizer step with what parts make of all of them (`mmrl.objectives.preparing`).

    It costs a forward pass of the streams whose parts ask for it, and nothing where none does.
    """
    asking = {name for name in objective.streams if any(preparing_parts(objective, name))}
    wanted = [row for row in rows if row.stream in asking and not row.masked]

    def see_batch(batch: Sequence[Row]) -> list[Seen]:
        likelihood = policy.log_probs(collate(batch), entropy="value")
        refuse_dead("log-probs (prepare)", [likelihood.log_probs_RU[likelihood.mask_RU]])
        return [see(row, likelihood, i) for i, row in enumerate(batch)]

    if not wanted:
        return list(rows)
    with without_dropout(policy):
        seen = _over_batches("log-probs (prepare)", wanted, policy, budget, world, see_batch)
    return give(rows, seen, objective)


def plan_step(objective: Objective, rows: Sequence[Row], step: int, max_units: int) -> kernel.StepPlan:
    """Weights and normalisers of one optimizer step over `rows`."""
    entropic, lossy = objective.under("entropy"), [row for row in rows if not row.masked]
    return kernel.StepPlan(
        objective=objective,
        weights=stream_weights(objective.streams, step),
        normalisers={name: normaliser(name, s, rows, max_units) for name, s in objective.streams.items()},
        entropy_units=max(1.0, float(sum(row.learned_units for row in lossy if row.stream in entropic))),
        value_targets=max(1.0, float(sum(len(row.targets) for row in lossy if row.targets is not None))),
        term_units={
            name: max(1.0, float(sum(row.learned_units for row in lossy if row.stream in objective.term_streams(name))))
            for name in objective.auxiliary_terms
        },
    )


def accumulate(
    rows: Sequence[Row],
    plan: kernel.StepPlan,
    policy: Policy,
    budget: int,
    *,
    heads: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    world: World = ALONE,
) -> dict[str, float]:
    """Adds the gradient of one optimizer step to the parameters; returns the step's sums and its loss.

    Masked rows are left out of the forward passes. Of several processes each computes its deal of the micro-batches,
    and all get the gradient of the whole step.

    Args:
        heads: from the states that rows keep of other policies to logits (`mmrl.trainer.comparing`).

    Raises DeadPolicy where the loss is not finite.
    """
    terms = plan.objective.auxiliary_terms
    entropic = [name for name, own in terms.items() if "entropy" in AUXILIARY_TERMS.get(own.kind).needs]
    wants = "gradient" if plan.objective.entropy or entropic else "value"
    looked_at = {*plan.objective.of("rollouts", "injected"), *plan.objective.under("entropy")}
    looked_at |= {stream for name in entropic for stream in plan.objective.term_streams(name)}

    def backward(batch: Sequence[Row]) -> dict[str, float]:
        entropy = wants if any(row.stream in looked_at for row in batch) else "none"
        others = _distributions(batch, plan.objective, heads or {})
        if others:
            likelihood = comparing(policy).log_probs(collate(batch), entropy, others)
        else:
            likelihood = policy.log_probs(collate(batch), entropy=entropy)
        loss, sums = kernel.loss(likelihood, batch, plan)
        loss.backward()
        value = float(loss.detach())
        if not math.isfinite(value):
            refuse_dead("log-probs of the step's units", [likelihood.log_probs_RU.detach()[likelihood.mask_RU]])
            raise DeadPolicy(f"the loss is {value}")
        return {"loss_sum": value, **sums}

    batches = micro_batches([row for row in rows if not row.masked], policy, budget, world.size)
    parts = world.each("the loss", batches, backward, lambda batch: tokens_of(batch, policy))
    if world.size > 1:
        world.sum_gradients([parameter for _, parameter, _ in policy.trainable()])
    total: dict[str, float] = {"loss_sum": 0.0}
    for sums in parts:
        for key, value in sums.items():
            join = max if key.endswith("_max") else float.__add__
            total[key] = join(total[key], value) if key in total else value
    return total


def _distributions(
    batch: Sequence[Row], objective: Objective, heads: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[tuple[str, str], Distribution]:
    """By (form, name), what auxiliary terms read beside the policy's own distribution at each unit of the batch."""
    wanted = {}
    for own in objective.auxiliary_terms.values():
        for form, name in own.divergences():
            known = [row.states[name] for row in batch if name in row.states]
            if known:
                size = known[0].shape[1]
                # Rows of other streams keep none: what is computed of zeros there is in no term.
                states = [row.states.get(name, known[0].new_zeros(row.units, size)) for row in batch]
                wanted[form, name] = Distribution(torch.cat(states), heads[name])
    return wanted


def minibatches(
    rows: Sequence[Row], count: int, epochs: int, generator: torch.Generator, by: MinibatchBy = "group"
) -> list[list[Row]]:
    """Rows of each optimizer step: whole groups or trajectories, shuffled anew every epoch and dealt into `count`.

    Each stream is shuffled by itself, and the next one is dealt on from where the last one ended: every optimizer step
    holds a stream's share of what is dealt, rounded up or down, and all steps hold as many as each other, to one. A
    stream of fewer than `count` is in as many steps only (`mmrl.recipe.checks.objectives` has what is refused). There
    are always `count` steps per epoch, empty ones where a filter left too little, so that the learning rate's schedule
    does not fall behind.

    Args:
        by: `group` keeps the answers to one prompt together, so that it is computed in one optimizer step per epoch;
            episodes share no prompt, and are dealt one by one. `trajectory` deals everything one by one.
    """
    if count == 1 and epochs == 1:
        return [list(rows)]
    streams: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        together = row.trajectory if by == "trajectory" else prompt_of(row)
        streams.setdefault(row.stream, {}).setdefault(together, []).append(row)
    parts = []
    for _ in range(epochs):
        dealt: list[list[Row]] = []
        for units in streams.values():
            whole = list(units.values())
            dealt += [whole[i] for i in torch.randperm(len(whole), generator=generator).tolist()]
        parts += [[row for unit in dealt[k::count] for row in unit] for k in range(count)]
    return parts
