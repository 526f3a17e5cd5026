"""The figures that describe a step: what it sampled, what it learnt, what it took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, pstdev

import psutil
import torch

from mmrl.contracts.types import Group, Trajectory
from mmrl.objectives.rows import Row
from mmrl.recipe.objective import Objective
from mmrl.rollouts.collect import StepBatch


def describe(batch: StepBatch) -> dict[str, float]:
    """Rewards, accuracy, lengths and group figures of all that a step sampled, before filters and gates."""
    trajectories = [t for g in batch.sampled for t in g.everything]
    if not trajectories:
        return {}
    rewards = [float(t.reward or 0.0) for t in trajectories]
    units = [t.units for t in trajectories]
    metrics = {
        "reward/mean": fmean(rewards),
        "reward/std": pstdev(rewards),
        "accuracy/mean": fmean(t.measured() for t in trajectories),
        "length/mean": fmean(units),
        "length/max": float(max(units)),
        "length/truncated": fmean(float(t.truncated) for t in trajectories),
        "group/zero_advantage": fmean(float(_flat(g)) for g in batch.sampled),
    }
    if any(group.pool for group in batch.sampled):
        metrics["group/pool"] = fmean(len(group.everything) for group in batch.sampled)
    parts: dict[str, list[float]] = defaultdict(list)
    tasks: dict[str, list[float]] = defaultdict(list)
    for group in batch.sampled:
        for t in group.everything:
            tasks[group.sample.task].append(t.measured())
            for name, value in t.parts.items():
                if value is not None:
                    parts[name].append(float(value))
    metrics |= {f"reward/{name}": fmean(values) for name, values in parts.items()}
    metrics |= {f"accuracy/{task}": fmean(values) for task, values in tasks.items()}
    return metrics | _episodes(trajectories)


def _flat(group: Group) -> bool:
    rewards = [t.reward for t in group.trajectories]
    return all(reward == rewards[0] for reward in rewards)


def _episodes(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    played = [t.episode for t in trajectories if t.episode is not None]
    if not played:
        return {}
    returns = [float(t.reward or 0.0) for t in trajectories if t.episode is not None]
    return {
        "episode/success_once": fmean(float(facts.success_once) for facts in played),
        "episode/success_at_end": fmean(float(facts.success_at_end) for facts in played),
        "episode/return": fmean(returns),
        "episode/length": fmean(float(facts.length) for facts in played),
    }


def resources(rows: Sequence[Row], step_seconds: float, update_seconds: float) -> dict[str, float]:
    """Time, throughput and memory of a step."""
    metrics = {
        "time/update": update_seconds,
        "time/step": step_seconds,
        "throughput/tokens_per_s": sum(row.units for row in rows if not row.masked) / step_seconds,
        "throughput/samples_per_s": sum(not row.masked for row in rows) / step_seconds,
        "memory/rss_gb": psutil.Process().memory_info().rss / 1e9,
    }
    if torch.cuda.is_available():
        metrics["memory/device_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return metrics


def over_minibatches(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The figures of a step's optimizer steps as one.

    Maxima of maxima, skipped steps added up, the last learning rates, means of the rest.
    """
    joined: dict[str, list[float]] = defaultdict(list)
    for part in parts:
        for name, value in part.items():
            joined[name].append(value)
    return {name: _join(name, values) if len(values) > 1 else values[0] for name, values in joined.items()}


def _join(name: str, values: Sequence[float]) -> float:
    if name.startswith("optim/lr"):
        return values[-1]
    if name == "optim/skipped":
        return sum(values)
    return max(values) if name.endswith("_max") else fmean(values)


def metrics_of(sums: dict[str, float], weights: dict[str, float], objective: Objective) -> dict[str, float]:
    """The kernel's sums as documented metrics; clip shares only where a coefficient clips."""
    metrics = {"loss/total": sums["loss_sum"]}
    for name, weight in weights.items():
        units = sums.get(f"{name}_units_sum", 0.0)
        metrics[f"stream/{name}_units"] = units
        metrics[f"stream/{name}_weight"] = weight
        if units:
            metrics[f"loss/{name}"] = sums[f"{name}_nll_sum"] / units
    metrics |= _policy(sums, objective)
    for name in objective.auxiliary_terms:
        if sums.get(f"term_{name}_units_sum"):
            metrics[f"loss/{name}"] = sums[f"term_{name}_sum"] / sums[f"term_{name}_units_sum"]
    if sums.get("value_count_sum"):
        metrics |= _critic(sums, sums["value_count_sum"])
    if sums.get("offline_square_sum"):
        units = sums["offline_units_sum"]
        metrics["offline/weight_mean"] = sums["offline_weight_sum"] / units
        metrics["offline/effective"] = sums["offline_weight_sum"] ** 2 / (sums["offline_square_sum"] * units)
    return metrics


def _policy(sums: dict[str, float], objective: Objective) -> dict[str, float]:
    """Ratio, clip shares, engine gap, entropy and KL over the streams in groups of rollouts that have each."""
    names = [name for name in objective.of("rollouts", "injected") if sums.get(f"{name}_units_sum")]
    metrics = {}
    for key, metric in (
        ("ratio_sum", "policy/ratio_mean"),
        ("clip_high_sum", "policy/clip_high"),
        ("clip_low_sum", "policy/clip_low"),
        ("gap_sum", "gap/log_prob_mean"),
        ("entropy_sum", "policy/entropy"),
        ("kl_sum", "policy/kl_ref"),
    ):
        having = [name for name in names if f"{name}_{key}" in sums]
        if having:
            total, units = (sum(sums[f"{name}_{figure}"] for name in having) for figure in (key, "units_sum"))
            metrics[metric] = total / units
    if names:
        metrics["policy/ratio_max"] = max(sums[f"{name}_ratio_max"] for name in names)
        metrics["gap/log_prob_max"] = max(sums[f"{name}_gap_max"] for name in names)
    return metrics


def _critic(sums: dict[str, float], count: float) -> dict[str, float]:
    """Figures of the value head; its explained variance is 1 - E[(target - V)^2] / Var[target]."""
    mean = sums["value_target_sum"] / count
    variance = sums["value_target_square_sum"] / count - mean**2
    figures = {"loss/value": sums["value_loss_sum"] / count, "value/mean": sums["value_sum"] / count}
    if variance > 0:
        figures["value/explained_variance"] = 1 - sums["value_error_square_sum"] / count / variance
    return figures
