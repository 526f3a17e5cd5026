"""A step's data: groups sampled from the policy, demonstrations, gates and dynamic sampling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from statistics import fmean
from typing import Any

from mmrl.contracts.engine import Engine
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Group, Prompt, Sample, Trajectory
from mmrl.data.mixture import Mixture
from mmrl.recipe.objective import Filter, Objective
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.answers import answer, demonstrate
from mmrl.rollouts.episodes import demonstrate_episodes, play
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.relabelling import relabelled_episodes
from mmrl.rollouts.simulators import Simulators


@dataclass(frozen=True, slots=True)
class StepBatch:
    """A step's data.

    Attributes:
        rollouts: scored groups to learn from.
        demonstrations: groups of one demonstration.
        sampled: every scored group, those that a filter or gate took out too: the figures describe these.
        metrics: what building them took.
    """

    rollouts: tuple[Group, ...] = ()
    demonstrations: tuple[Group, ...] = ()
    sampled: tuple[Group, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)


class Builder:
    """Builds the batches of one stage."""

    def __init__(
        self,
        policy: Any,
        engine: Engine,
        mixture: Mixture,
        preparer: Preparer,
        simulators: Simulators,
        stage: StageConfig,
        objective: Objective,
    ):
        self.policy, self.engine, self.mixture = policy, engine, mixture
        self.preparer, self.simulators = preparer, simulators
        self.stage, self.objective = stage, objective
        self.rewarder, self.seed = preparer.rewarder, 0

    def collect(self, seed: int, progress: float = 1.0) -> StepBatch:
        """One step's batch. The same seed, weights, sampler position and progress give the same batch.

        Args:
            seed: of all sampling.
            progress: share of the stage that is done, for rewards that tighten over training.
        """
        self.rewarder, self.seed = self.preparer.rewarder.at(progress), seed
        start = time.perf_counter()
        rollouts: list[Group] = []
        sampled: list[Group] = []
        demos: list[Group] = []
        metrics: dict[str, float] = {}
        if self.objective.rollouts:
            rollouts, sampled, metrics = self._rollouts(seed)
        if self.objective.inject:
            rollouts, share = self._inject(rollouts)
            metrics["group/injected"] = share
        if self.objective.gate:
            kept, demos = self._gate(rollouts)
            metrics["group/gated"] = 1 - len(kept) / max(1, len(rollouts))
            rollouts = kept
        if self.objective.demonstrations:
            demos = demos + self._demonstrations(self.stage.demonstrations)
        if any(group.sample.simulator for group in (*rollouts, *demos)):
            metrics["episode/dropped"] = float(self.simulators.dropped)
        metrics["time/rollout"] = time.perf_counter() - start
        return StepBatch(tuple(rollouts), tuple(demos), tuple(sampled), metrics)

    def read_ahead(self, count: int | None) -> None:
        """Starts reading, in threads, what the next `count` samples of each kind that the stage draws need.

        None: what the next step draws, where that is worth it.
        """
        ahead, videos = self.mixture.ahead, getattr(self.policy, "videos", None)
        if ahead is None or count == 0 or (count is None and not self.mixture.reads_media):
            return
        prompts, demonstrations = (self.stage.prompts, self.stage.demonstrations) if count is None else (count, count)
        rollouts = self.mixture.upcoming(prompts) if self.objective.rollouts else []
        demos = self.mixture.upcoming(demonstrations, demonstrations=True) if self.objective.demonstrations else []
        jobs = {}
        # By turns: a step draws of both.
        for one in chain.from_iterable(zip_longest(rollouts, demos)):
            if one is not None and one.sample is None:
                jobs[one.key] = one.build
            elif one is not None and videos is not None:
                jobs |= videos.jobs(one.sample)
        ahead.want(jobs)

    def reading(self) -> dict[str, float]:
        """What reading videos took since the last call, and what is held of the next ones."""
        videos, ahead = getattr(self.policy, "videos", None), self.mixture.ahead
        figures = videos.figures() if videos is not None else {}
        held = ahead.held if ahead is not None else 0
        return figures | ({"memory/read_ahead_gb": held / 1e9} if held else {})

    def _rollouts(self, seed: int) -> tuple[list[Group], list[Group], dict[str, float]]:
        """Groups to learn from, all groups sampled, and the filter's figures."""
        wanted, settings = self.stage.prompts, self.objective.filter
        groups = self.sample(self.mixture.next(wanted), seed)
        if settings is None:
            return groups, groups, {}
        kept, rounds = _learnable(groups, settings), 1
        while len(kept) < wanted and rounds < settings.rounds:
            more = self.sample(self.mixture.next(wanted), seed + 104729 * rounds)
            groups, kept, rounds = groups + more, kept + _learnable(more, settings), rounds + 1
        return kept[:wanted], groups, {"group/kept": len(kept) / len(groups), "group/rounds": float(rounds)}

    def sample(self, samples: Sequence[Sample], seed: int) -> list[Group]:
        """Scored groups of each sample, answers and episodes alike, in the samples' order."""
        rollout = self.stage.rollout
        ready = [self.preparer.take(sample) for sample in samples]
        groups: dict[int, Group] = {}
        answers = [(i, sample, prompt) for i, (sample, prompt) in enumerate(ready) if prompt is not None]
        if answers:
            pairs = [(sample, prompt) for _, sample, prompt in answers]
            made = answer(self.policy, self.engine, pairs, rollout, rollout.n, seed, self.rewarder)
            groups.update(zip([i for i, _, _ in answers], made))
        by_simulator: dict[str, list[int]] = {}
        for i, (sample, prompt) in enumerate(ready):
            if prompt is None:
                by_simulator.setdefault(str(sample.simulator), []).append(i)
        for indices in by_simulator.values():
            starts = [ready[i][0] for i in indices]
            chunk = rollout.action_chunk
            critic = self.objective.value is not None
            made = play(self.policy, self.engine, self.simulators, starts, rollout, rollout.n, chunk, seed, critic)
            groups.update(zip(indices, made))
        return [groups[i] for i in range(len(samples))]

    def _inject(self, groups: list[Group]) -> tuple[list[Group], float]:
        """The groups with a demonstration in the last rollout's place, and the share that got one."""
        below = self.objective.inject.below
        means = [sum(t.info.get("accuracy", 0.0) for t in g.trajectories) / len(g.trajectories) for g in groups]
        chosen = [i for i, g in enumerate(groups) if g.sample.demonstration and (below is None or means[i] < below)]
        played = [i for i in chosen if groups[i].sample.simulator]
        demos = dict(zip(played, self._demonstrate([(groups[i].sample, None) for i in played])))
        for i in set(chosen) - set(played):
            sample, prompt = groups[i].sample, groups[i].trajectories[0].decisions[0].prompt
            try:
                (demo,) = self._demonstrate([(sample, prompt)])
            except BadSample as error:
                self.mixture.reject(error)
                continue
            scored = self.rewarder.score(demo.trajectories[0], sample)
            demos[i] = replace(demo, trajectories=(scored,))
        mixed = list(groups)
        for i, demo in demos.items():
            beside = [_at(t, self.stage.rollout.temperature) for t in demo.trajectories]
            mixed[i] = replace(groups[i], trajectories=(*groups[i].trajectories[:-1], *beside))
        return mixed, len(demos) / max(1, len(groups))

    def _gate(self, groups: list[Group]) -> tuple[list[Group], list[Group]]:
        """Groups that stay, and the demonstrations of those that the gate closed on."""
        gate = self.objective.gate
        kept, demos = [], []
        for group in groups:
            solved = sum(t.info.get("accuracy", 0.0) >= gate.threshold for t in group.trajectories)
            # A prompt without a demonstration keeps its rollouts: there is nothing to swap them for.
            if solved > gate.solved or not group.sample.demonstration:
                kept.append(group)
                continue
            prompt = group.trajectories[0].decisions[0].prompt
            try:
                demos += self._demonstrate([(group.sample, None if group.sample.simulator else prompt)])
            except BadSample as error:
                self.mixture.reject(error)
                kept.append(group)
        return kept, demos

    def _demonstrations(self, count: int) -> list[Group]:
        groups, rejected = [], 0
        rows = sum(len(dataset) for dataset in self.mixture.datasets)
        while len(groups) < count:
            drawn = self.mixture.next(count - len(groups), demonstrations=True)
            ready = [self.preparer.take(sample) for sample in drawn]
            groups += self._demonstrate([pair for pair in ready if pair[1] is None])
            for pair in ready:
                try:
                    groups += self._demonstrate([pair]) if pair[1] is not None else []
                    rejected = 0
                except BadSample as error:
                    self.mixture.reject(error)
                    rejected += 1
                    if rejected >= 2 * rows:
                        raise UserError(f"no demonstration can be used; the last: {error}") from None
        return groups

    def _demonstrate(self, pairs: Sequence[tuple[Sample, Prompt | None]]) -> list[Group]:
        """Demonstrations of answers, from their samples, and of episodes, from the simulator's expert, in order."""
        limit = self.stage.rollout.max_new_tokens
        groups = {
            i: demonstrate(self.policy, sample, prompt, limit)
            for i, (sample, prompt) in enumerate(pairs)
            if prompt is not None
        }
        starts: dict[str, list[int]] = {}
        for i, (sample, prompt) in enumerate(pairs):
            if prompt is None:
                starts.setdefault(str(sample.simulator), []).append(i)
        for indices in starts.values():
            groups.update(zip(indices, self._expert_episodes([pairs[i][0] for i in indices])))
        return [groups[i] for i in range(len(pairs))]

    def _expert_episodes(self, samples: Sequence[Sample]) -> list[Group]:
        """The scripted expert's episodes, or the policy's own with the expert's labels."""
        rollout, relabel = self.stage.rollout, self.objective.relabel
        if relabel is None:
            critic = self.objective.offline is not None
            return demonstrate_episodes(self.policy, self.simulators, samples, rollout.action_chunk, critic)
        return relabelled_episodes(self.policy, self.engine, self.simulators, samples, rollout, relabel, self.seed)


def _at(trajectory: Trajectory, temperature: float) -> Trajectory:
    """The trajectory with its log-probs taken at the temperature of the rollouts that it stands beside."""
    return replace(trajectory, decisions=tuple(replace(d, temperature=temperature) for d in trajectory.decisions))


def _learnable(groups: Sequence[Group], settings: Filter) -> list[Group]:
    """Groups whose mean accuracy or reward lies strictly between the filter's bounds."""

    def score(trajectory: Trajectory) -> float:
        return float(trajectory.info.get("accuracy", 0.0) if settings.by == "accuracy" else trajectory.reward or 0.0)

    return [g for g in groups if settings.low < fmean(map(score, g.trajectories)) < settings.high]
