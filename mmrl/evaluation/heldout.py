"""Held-out accuracy per task: greedy by default, sparse-to-dense over videos where the recipe says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from mmrl.config import EvalConfig
from mmrl.errors import BadSample
from mmrl.evaluation.filming import Film
from mmrl.evaluation.sparse_to_dense import settle
from mmrl.rollouts.answers import answer
from mmrl.rollouts.engines import make_engine
from mmrl.rollouts.episodes import play
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.simulators import Simulators
from mmrl.types import Group, Prompt, Sample

Pair = tuple[Sample, Prompt | None]


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
    film: Film | None = None,
) -> tuple[dict[str, float], list[Group]]:
    """Accuracy of each task and their mean, each task weighing the same, with the groups behind them.

    A bad sample stops the evaluation or, with `on_bad="skip"`, counts as wrong: it stays in the denominator. A task
    that occurs in several datasets is reported per dataset as `dataset/task`; so is every task of the datasets named in
    `controls`, which stay out of the mean. `film` films the first episodes of each dataset.
    """
    engine = make_engine("hf", policy, config.batch_size)
    scores: dict[tuple[str, str], list[float]] = {}
    groups: list[Group] = []
    for name, dataset in datasets.items():
        rows = range(min(len(dataset), config.limit or len(dataset)))
        for start in range(0, len(rows), config.batch_size):
            failed: list[str] = []
            samples = _read(dataset, rows[start : start + config.batch_size], on_bad, failed)
            prepare = partial(_prepare, preparer=preparer, on_bad=on_bad, failed=failed)
            made, episodes = _answer(policy, engine, samples, config, prepare, preparer.rewarder, seed)
            for played in episodes.values():
                with film.of(name, played, simulators) if film else nullcontext(simulators) as worlds:
                    made += play(policy, engine, worlds, played, config.sampling, 1, chunk, seed)
            for task in failed:
                scores.setdefault((name, task), []).append(0.0)
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


def _read(dataset: Sequence[Sample], rows: Sequence[int], on_bad: str, failed: list[str]) -> list[Sample]:
    """Rows that can be read; the others raise or, with `skip`, are noted in `failed`."""
    samples = []
    for row in rows:
        try:
            samples.append(dataset[row])
        except BadSample:
            if on_bad == "stop":
                raise
            failed.append("unreadable")
    return samples


def _prepare(samples: Sequence[Sample], preparer: Preparer, on_bad: str, failed: list[str]) -> list[Pair | None]:
    """A pair for each sample; a bad one raises or, with `skip`, gives None and leaves its task in `failed`."""
    pairs: list[Pair | None] = []
    for sample in samples:
        try:
            pairs.append(preparer.make(sample))
        except BadSample:
            if on_bad == "stop":
                raise
            failed.append(sample.task)
            pairs.append(None)
    return pairs


def _answer(
    policy, engine, samples, config: EvalConfig, prepare, rewarder, seed
) -> tuple[list[Group], dict[str, list[Sample]]]:
    """Groups of the samples that are questions, and the others by their simulator."""
    dense = config.sparse_to_dense
    climbing = [s for s in samples if dense is not None and s.videos]
    pairs = [pair for pair in prepare([s for s in samples if dense is None or not s.videos]) if pair is not None]
    answers = [(s, p) for s, p in pairs if p is not None]
    groups = answer(policy, engine, answers, config.sampling, 1, seed, rewarder) if answers else []
    groups += settle(policy, engine, climbing, dense, config.sampling, prepare, rewarder, seed) if climbing else []
    episodes: dict[str, list[Sample]] = {}
    for sample, prompt in pairs:
        if prompt is None:
            episodes.setdefault(str(sample.simulator), []).append(sample)
    return groups, episodes
