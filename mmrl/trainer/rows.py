"""From a step's groups to training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from mmrl.contracts.sampler import Outcome
from mmrl.contracts.types import DEMO, REJECTED, Group, Trajectory
from mmrl.objectives.advantages import Advantages, weigh_groups
from mmrl.objectives.kl import estimate_kl
from mmrl.objectives.rows import Row
from mmrl.objectives.scored import Scored
from mmrl.objectives.stateful import Stateful
from mmrl.recipe.companions import REFERENCE
from mmrl.recipe.objective import Objective
from mmrl.recipe.reward_transforms import REWARD_TRANSFORMS
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import StepBatch


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a decision before the first update.

    Attributes:
        old: float32 [U], log-probs of its units.
        reference: float32 [U], those under what the KL is to.
        values: the critic's, as `Row.values`; None without one.
    """

    old: Tensor
    reference: Tensor
    values: Tensor | None = None


def make_rows(
    batch: StepBatch,
    objective: Objective,
    stage: StageConfig,
    measured: Mapping[int, Measured] | None = None,
    stateful: Stateful | None = None,
) -> tuple[list[Row], list[Group]]:
    """Rows of every stream, and the rollout groups with their advantages noted for the rollouts file.

    Advantages come from the whole batch before anything is split; those of a critic follow once it has been asked.
    Trajectories without a decision keep their place in the advantage but get no row; the rows of truncated ones are
    masked under `mask_truncated`.

    Args:
        measured: of decisions, by identity, where KL comes off the reward (`measure_references`).
        stateful: the stage's parts that remember; needed by an advantage that does.
    """
    settings, measured = objective.advantage, measured or {}
    critic, stepwise = objective.critic is not None, not settings.accuracy
    scored = _transformed(batch.rollouts, objective, stage.rollout.max_new_tokens)
    weight = objective.kl.weight
    # By decision, float64 [U]: the KL's estimate at each unit.
    estimates = {
        key: estimate_kl(known.old.double(), known.reference.double(), objective.kl.kind)
        for key, known in measured.items()
    }
    # Per trajectory, per decision, per step: weight x the KL of the step's units.
    charges = [[_charges(t, estimates, weight) for t in group.trajectories] for group in batch.rollouts]
    scored = [
        [_charged(*each, estimates, weight) for each in zip(own, group.trajectories, charge, strict=True)]
        for own, group, charge in zip(scored, batch.rollouts, charges, strict=True)
    ]
    shaped = [[t.reward for t in group] for group in scored]
    advantages: Advantages = shaped if critic else weigh_groups(scored, objective, stateful)
    rows: list[Row] = []
    noted: list[Group] = []
    for group, values, totals, own in zip(batch.rollouts, advantages, shaped, charges):
        marked: list[Trajectory] = []
        prompts: dict[int, int] = {}
        success = _success(group)
        for trajectory, advantage, total, charge in zip(group.trajectories, values, totals, own):
            noting = {} if critic else {"advantage": _mean(advantage)}
            if charge:
                noting["kl_charge"] = sum(map(sum, charge))
            marked.append(replace(trajectory, info={**trajectory.info, **noting}))
            masked = objective.mask_truncated and trajectory.truncated
            for stream in streams_of(trajectory, objective):
                new = _rows(trajectory, stream, advantage, len(rows), len(group.trajectories), prompts, masked)
                new = [_with_reference(replace(row, success=success), measured, objective.kl.to) for row in new]
                rows += _credited(new, trajectory, total, stepwise, charge) if critic else new
        noted.append(replace(group, trajectories=tuple(marked)))
    for group in batch.demonstrations:
        prompts = {}
        for trajectory in group.trajectories:
            rejected = trajectory.origin == REJECTED
            for stream in objective.of("pairs") if rejected else objective.of("demonstrations", "pairs"):
                sign = -1.0 if rejected else 1.0
                new = _rows(trajectory, stream, sign, len(rows), len(group.trajectories), prompts)
                rows += _credited(new, trajectory, _earned(trajectory)) if objective.offline else new
    return rows, noted


def _mean(advantage: float | Tensor) -> float:
    return float(advantage.mean()) if isinstance(advantage, Tensor) else advantage


def _success(group: Group) -> float | None:
    """The mean accuracy of the group; None where nothing has measured one of them."""
    figures = [t.accuracy for t in group.trajectories]
    known = [figure for figure in figures if figure is not None]
    return fmean(known) if known and len(known) == len(figures) else None


def _charges(trajectory: Trajectory, estimates: Mapping[int, Tensor], weight: float) -> list[list[float]]:
    """What KL takes off the reward of each step of each decision; empty where it takes nothing."""
    charges = []
    for decision in trajectory.decisions:
        if id(decision) not in estimates:
            return []
        steps = len(decision.step_rewards or (decision.reward,))
        charges.append((weight * estimates[id(decision)].unflatten(0, (steps, -1)).sum(1)).tolist())
    return charges


def _charged(
    scored: Scored,
    trajectory: Trajectory,
    charges: Sequence[Sequence[float]],
    estimates: Mapping[int, Tensor],
    weight: float,
) -> Scored:
    """The scored trajectory without what KL takes off, and what that is at each unit, where it takes something."""
    if not charges:
        return scored
    units = torch.cat([weight * estimates[id(decision)] for decision in trajectory.decisions])
    return replace(scored, reward=scored.reward - sum(map(sum, charges)), charges=units)


def _with_reference(row: Row, measured: Mapping[int, Measured], to: str) -> Row:
    """The row with the log-probs of what the KL is to, where they are known, for the figure of the KL."""
    known = measured.get(id(row.decision))
    if known is None:
        return row
    if to == REFERENCE:
        return replace(row, reference=known.reference)
    return replace(row, companions={**row.companions, to: known.reference})


def _earned(trajectory: Trajectory) -> float:
    if trajectory.reward is None:
        raise ValueError(f"a trajectory of origin '{trajectory.origin}' has no reward to be weighed by")
    return trajectory.reward


def streams_of(trajectory: Trajectory, objective: Objective) -> tuple[str, ...]:
    """The streams that a trajectory in a group of rollouts belongs to."""
    injected = objective.of("injected") if trajectory.origin == DEMO else ()
    return injected or objective.of("rollouts")


def _transformed(groups: Sequence[Group], objective: Objective, limit: int) -> list[list[Scored]]:
    """The groups' trajectories with the rewards that the objective's transforms make of theirs."""
    scored = [_scored_group(group, objective.advantage.accuracy, limit) for group in groups]
    for own in objective.reward_transforms.values():
        rewards = REWARD_TRANSFORMS.get(own.kind).load()(scored, own)
        scored = [
            [replace(t, reward=reward) for t, reward in zip(group, changed, strict=True)]
            for group, changed in zip(scored, rewards, strict=True)
        ]
    return scored


def _scored_group(group: Group, by_accuracy: bool, limit: int) -> list[Scored]:
    """A group's trajectories as advantages see them.

    Args:
        by_accuracy: the task's own figure takes the reward's place.
    """

    def earned(trajectory: Trajectory) -> float:
        return trajectory.measured() if by_accuracy else float(trajectory.reward or 0.0)

    pool = tuple(map(earned, group.pool))
    return [
        Scored(
            reward=earned(trajectory),
            parts=trajectory.parts,
            accuracy=trajectory.accuracy,
            units=trajectory.units,
            limit=limit,
            truncated=trajectory.truncated,
            demonstrated=trajectory.origin == DEMO,
            contextual=bool(trajectory.info.get("context")),
            pool=pool,
        )
        for trajectory in group.trajectories
    ]


def _rows(
    trajectory: Trajectory,
    stream: str,
    advantage: float | Tensor,
    index: int,
    group_size: int,
    prompts: dict[int, int],
    masked: bool = False,
) -> list[Row]:
    """Rows of a trajectory.

    Args:
        advantage: of the trajectory, or of each of its units.
        prompts: of its group: the identity of each first prompt -> the index of the first trajectory that starts there.
    """
    group = prompts.setdefault(id(trajectory.decisions[0].prompt), index) if trajectory.decisions else index
    decisions = trajectory.decisions
    lengths = [len(decision.tokens) for decision in decisions]
    each = advantage.split(lengths) if isinstance(advantage, Tensor) else [advantage] * len(decisions)
    return [
        Row(
            decision,
            stream,
            own,
            index,
            trajectory.learned_units,
            group_size,
            masked=masked,
            group=group,
            old=decision.old,
        )
        for decision, own in zip(decisions, each, strict=True)
    ]


def _credited(
    rows: list[Row],
    trajectory: Trajectory,
    total: float,
    stepwise: bool = True,
    charges: Sequence[Sequence[float]] = (),
) -> list[Row]:
    """Rows with their rewards; what these leave of the trajectory's `total` falls to the last step.

    Args:
        stepwise: each step's own reward counts; else every one but the last is 0.
        charges: what is taken off each step of each decision, which `total` is already without.
    """
    decisions = trajectory.decisions
    rewards = [list(decision.step_rewards or (decision.reward,)) for decision in decisions]
    earned = sum(decision.reward for decision in decisions)
    if not stepwise:
        rewards, earned = [[0.0] * len(steps) for steps in rewards], 0.0
    if charges:
        rewards = [
            [r - c for r, c in zip(steps, own, strict=True)] for steps, own in zip(rewards, charges, strict=True)
        ]
        earned -= sum(map(sum, charges))
    if rewards:
        rewards[-1][-1] += total - earned
    credited = [replace(row, rewards=tuple(steps)) for row, steps in zip(rows, rewards)]
    return [*credited[:-1], *(replace(row, final_prompt=trajectory.final_prompt) for row in credited[-1:])]


def outcomes(groups: Sequence[Group], version: int) -> list[Outcome]:
    """What became of each sampled row, for the sampler that drew it.

    Args:
        version: optimizer steps taken when they were sampled.
    """
    return [
        Outcome(
            *group.sample.draw,
            accuracies=tuple(t.measured() for t in group.everything),
            rewards=tuple(float(t.reward or 0.0) for t in group.everything),
            lengths=tuple(t.units for t in group.everything),
            version=version,
        )
        for group in groups
        if group.sample.draw is not None
    ]
