"""Held-out accuracy per task, greedy by default."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmrl.config import EvalConfig
from mmrl.errors import BadSample
from mmrl.rollouts.answers import answer
from mmrl.rollouts.engines import make_engine
from mmrl.rollouts.episodes import Simulators, play
from mmrl.rollouts.preparing import Preparer
from mmrl.types import Group, Sample


def evaluate(
    policy: Any,
    datasets: Mapping[str, Sequence[Sample]],
    config: EvalConfig,
    preparer: Preparer,
    simulators: Simulators,
    *,
    seed: int = 0,
    chunk: int = 1,
    on_bad: str = "stop",
    controls: Collection[str] = (),
) -> tuple[dict[str, float], list[Group]]:
    """Accuracy of each task and their mean, each task weighing the same, with the groups behind them.

    A bad sample stops the evaluation or, with `on_bad="skip"`, counts as wrong: it stays in the denominator. A task
    that occurs in several datasets is reported per dataset as `dataset/task`; so is every task of the datasets named in
    `controls`, which stay out of the mean.
    """
    engine = make_engine("hf", policy, config.batch_size)
    scores: dict[tuple[str, str], list[float]] = {}
    groups: list[Group] = []
    for name, dataset in datasets.items():
        rows = range(min(len(dataset), config.limit or len(dataset)))
        for start in range(0, len(rows), config.batch_size):
            samples, failed = _read(dataset, rows[start : start + config.batch_size], preparer, on_bad)
            for task in failed:
                scores.setdefault((name, task), []).append(0.0)
            made = _run(policy, engine, samples, config, preparer, simulators, seed, chunk)
            for group in made:
                accuracy = float(group.trajectories[0].info["accuracy"])
                scores.setdefault((name, group.sample.task), []).append(accuracy)
            groups += made
    tasks = [task for name, task in scores if name not in controls]
    means = {key: sum(values) / len(values) for key, values in scores.items()}
    results = {
        (task if tasks.count(task) == 1 else f"{name}/{task}"): mean
        for (name, task), mean in means.items()
        if name not in controls
    }
    results["mean"] = sum(results.values()) / len(results) if results else 0.0
    results |= {f"{name}/{task}": mean for (name, task), mean in means.items() if name in controls}
    return results, groups


def _read(dataset, rows, preparer: Preparer, on_bad: str) -> tuple[list[tuple[Sample, Any]], list[str]]:
    pairs, failed = [], []
    for row in rows:
        task = "unreadable"
        try:
            sample = dataset[row]
            task = sample.task
            pairs.append(preparer.make(sample))
        except BadSample:
            if on_bad == "stop":
                raise
            failed.append(task)
    return pairs, failed


def _run(policy, engine, pairs, config: EvalConfig, preparer, simulators, seed: int, chunk: int) -> list[Group]:
    answers = [(s, p) for s, p in pairs if p is not None]
    groups = answer(policy, engine, answers, config.sampling, 1, seed, preparer.rewarder) if answers else []
    episodes: dict[str, list[Sample]] = {}
    for sample, prompt in pairs:
        if prompt is None:
            episodes.setdefault(str(sample.simulator), []).append(sample)
    for samples in episodes.values():
        groups += play(policy, engine, simulators, samples, config.sampling, 1, chunk, seed)
    return groups
