"""What rollouts need before the first update: old and reference log-probs, and the critic's advantages and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Decision, Group, Prompt
from mmrl.contracts.world import ALONE, World
from mmrl.objectives.advantages import demonstration_weights
from mmrl.objectives.gae import gae
from mmrl.objectives.rows import Row, learned_mask
from mmrl.recipe.advantages import Standard
from mmrl.recipe.objective import Objective, Offline
from mmrl.recipe.training import StageConfig
from mmrl.trainer.comparing import Companions, score_others, standing_in
from mmrl.trainer.rows import Measured, streams_of
from mmrl.trainer.step import score


def score_rollouts(
    rows: Sequence[Row],
    objective: Objective,
    stage: StageConfig,
    policy: Policy,
    budget: int,
    measured: Mapping[int, Measured] | None = None,
    companions: Companions | None = None,
    world: World = ALONE,
) -> list[Row]:
    """The rows with the log-probs, advantages and targets that the objective asks for.

    Those of rollouts come first, and masked ones, of which nothing is asked, last. A single update needs no old
    log-probs: they are the current ones. Under `offline`, demonstrations get targets, and weights as their advantages.

    Args:
        measured: as `measure_references` gives it: what it knows of a decision is not computed again.
        companions: by name, those that the objective reads.
    """
    in_groups = set(objective.of("rollouts", "injected"))
    masked = [row for row in rows if row.masked]
    sampled = [row for row in rows if row.stream in in_groups and not row.masked]
    taught = [row for row in rows if row.stream not in in_groups and not row.masked]
    critic, several = objective.critic, stage.minibatches * stage.epochs > 1
    if taught and critic is not None and objective.offline is not None:
        taught = score(taught, "old", policy, budget, world)
        taught = weigh(taught, critic, policy, budget, objective.offline, world)
    elif several:
        reading = objective.reading_ratios()
        taught = _score_where(taught, lambda row: row.stream in reading, "old", policy, budget, world)
    if sampled and (critic is not None or several):
        known = measured or {}
        sampled = _score_where(sampled, lambda row: id(row.decision) not in known, "old", policy, budget, world)
        sampled = [_with_old(row, known.get(id(row.decision))) for row in sampled]
        sampled = [row if row.decision.old is None else replace(row, old=row.decision.old) for row in sampled]
    if sampled and critic is not None:
        sampled = weigh(sampled, critic, policy, budget, world=world)
    return [*score_others([*sampled, *taught], objective, policy, companions or {}, budget, world), *masked]


def measure_references(
    groups: Sequence[Group],
    objective: Objective,
    policy: Policy,
    budget: int,
    companions: Companions | None = None,
    world: World = ALONE,
) -> dict[int, Measured]:
    """What KL in the reward is estimated from, by the identity of each decision; empty without such KL."""
    if not objective.kl.in_reward:
        return {}
    under_kl = objective.under("kl")
    rows = [
        Row(decision, "", 0.0, 0, trajectory.units)
        for group in groups
        for trajectory in group.trajectories
        if not under_kl.isdisjoint(streams_of(trajectory, objective))
        for decision in trajectory.decisions
    ]
    rows = score(rows, "old", policy, budget, world)
    to = objective.kl.to
    with standing_in(to, policy, companions or {}) as other:
        rows = score(rows, to, other, budget, world)
    return {id(row.decision): Measured(row.old, _where_learned(row, to), row.values) for row in rows}


def _where_learned(row: Row, to: str) -> Tensor:
    """The other policy's log-probs [U], the policy's own at units without a loss, which no KL is charged for."""
    other = row.under(to)
    if row.old is None or other is None:
        raise ValueError("the row is not scored")
    learned_U = learned_mask([row], torch.ones(1, row.units, dtype=torch.bool))[0]
    return torch.where(learned_U, other, row.old)


def _score_where(
    rows: Sequence[Row], chosen: Callable[[Row], bool], field: str, policy: Policy, budget: int, world: World
) -> list[Row]:
    """`rows` in their order, the chosen ones scored."""
    scored = iter(score([row for row in rows if chosen(row)], field, policy, budget, world))
    return [next(scored) if chosen(row) else row for row in rows]


def _with_old(row: Row, known: Measured | None) -> Row:
    return row if known is None else replace(row, old=known.old, values=known.values)


def weigh(
    rows: Sequence[Row],
    settings: Standard,
    policy: Policy,
    budget: int,
    offline: Offline | None = None,
    world: World = ALONE,
) -> list[Row]:
    """Copies of scored rows with GAE's advantages and the value targets (PPO, arXiv 1707.06347).

    Args:
        rows: every row of rollouts, or of demonstrations, decisions of a trajectory in time order, `values` known.
        offline: for demonstrations: the weights that it makes of the advantages take their place.

    Raises:
        ConfigError: the policy has no value head, or one whose outputs do not fit the chunks of actions.
    """
    bootstraps = _bootstrap_values(rows, policy, budget, world)
    by_trajectory: dict[int, list[Row]] = {}
    for row in rows:
        by_trajectory.setdefault(row.trajectory, []).append(row)
    weighed: dict[int, tuple[Tensor, Tensor]] = {}
    for members in by_trajectory.values():
        rewards = [reward for row in members for reward in _rewards(row)]
        values = torch.cat([_values(row)[: len(_rewards(row))] for row in members])
        final = bootstraps.get(id(members[-1].final_prompt), 0.0)
        advantages, targets = gae(rewards, values, final, settings.gamma, settings.lam)
        start = 0
        for row in members:
            count = len(_rewards(row))
            weighed[id(row)] = advantages[start : start + count], targets[start : start + count]
            start += count
    shift, scale = _standard([advantages for advantages, _ in weighed.values()], settings)
    rows_with_targets = []
    for row in rows:
        advantages, targets = weighed[id(row)]
        advantages = (advantages - shift) / scale
        if offline is not None:
            advantages = demonstration_weights(advantages, offline)
        rows_with_targets.append(replace(row, advantage=_repeat_over_units(row, advantages), targets=targets))
    return rows_with_targets


def _values(row: Row) -> Tensor:
    if row.values is None:
        raise ConfigError("advantage.baseline 'value' needs a critic; set policy.value_head: {}")
    return row.values


def _rewards(row: Row) -> tuple[float, ...]:
    """The rewards that the row's values precede: each counted step's where the critic has one value per step."""
    count = len(_values(row))
    if count == 1:
        return (sum(row.rewards),)
    if len(row.rewards) > count:
        raise ConfigError(
            f"policy.value_head.outputs is {count}, and a decision has {len(row.rewards)} steps; set it to 1 "
            "or to rollout.action_chunk"
        )
    return row.rewards


def _repeat_over_units(row: Row, advantages: Tensor) -> Tensor:
    """Repeats the advantage of each step for all units of that step: float64 [U]."""
    return advantages.repeat_interleave(row.units // len(advantages))


def _standard(advantages: Sequence[Tensor], settings: Standard) -> tuple[Tensor, Tensor]:
    """Mean and deviation that the step's advantages are standardised with; 0 and 1 without a scale."""
    everything = torch.cat(list(advantages))
    if settings.scale == "none" or len(everything) < 2:
        return everything.new_zeros(()), everything.new_ones(())
    return everything.mean(), everything.std() + settings.epsilon


def _bootstrap_values(rows: Sequence[Row], policy: Policy, budget: int, world: World) -> dict[int, float]:
    """The critic's value of each final prompt, by the prompt's identity."""
    finals: dict[int, Prompt] = {id(row.final_prompt): row.final_prompt for row in rows if row.final_prompt is not None}
    if not finals:
        return {}
    first = rows[0]
    probes = []
    for prompt in finals.values():
        # The value is read at the state before the first unit, so one unit is enough and its token does not matter.
        units, restrict = first.decision.tokens[:1], first.decision.restrict
        decision = Decision(prompt, units, restrict=restrict, temperature=first.temperature)
        probes.append(Row(decision, first.stream, 0.0, 0, 1))
    return {key: float(_values(row)[0]) for key, row in zip(finals, score(probes, "old", policy, budget, world))}
