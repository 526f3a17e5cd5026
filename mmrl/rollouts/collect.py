"""A step's data: groups sampled from the policy, demonstrations, gates and dynamic sampling."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from statistics import fmean
from typing import Any

from mmrl.contracts.engine import Engine
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.policy import Policy, media_of
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import REJECTED, Group, Sample, Trajectory
from mmrl.data.mixture import Mixture
from mmrl.objectives.waiting import Place, Waiting
from mmrl.recipe.collecting import Buffer, Filter, Gate, Inject
from mmrl.recipe.objective import Objective
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.simulators import Simulators
from mmrl.rollouts.sources import SOURCES, demonstrate_each, sample_each, terms_of


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


@dataclass(frozen=True, slots=True)
class _Place:
    """What a drawn prompt is learnt from: its group, or the demonstration that a gate put there."""

    group: Group
    gated: bool = False


class Builder:
    """Builds the batches of one stage."""

    def __init__(
        self,
        policy: Policy,
        engine: Engine,
        mixture: Mixture,
        preparer: Preparer,
        simulators: Simulators,
        stage: StageConfig,
        objective: Objective,
        waiting: Waiting | None = None,
    ):
        self.policy, self.engine, self.mixture = policy, engine, mixture
        self.preparer, self.simulators = preparer, simulators
        self.stage, self.objective = stage, objective
        self.rewarder, self.seed, self.progress = preparer.rewarder, 0, 0.0
        self._stage_terms = terms_of(stage.rollout)
        self._waiting = waiting

    def collect(self, seed: int, progress: float = 1.0) -> StepBatch:
        """One step's batch. The same seed, weights, sampler position and progress give the same batch.

        Args:
            seed: of all sampling.
            progress: share of the stage that is done, for rewards that tighten over training.
        """
        self.rewarder, self.seed, self.progress = self.preparer.rewarder.at(progress), seed, progress
        start = time.perf_counter()
        rollouts, demos, sampled, metrics = self._rollouts(seed) if self.objective.rollouts else ([], [], [], {})
        if self.objective.buffer is not None:
            learned, figures = self._buffered(sampled, self.objective.buffer)
            demos, metrics = demos + learned, metrics | figures
        if self.objective.demonstrations:
            demos = demos + self._demonstrations(self.stage.demonstrations)
        if any(t.episode is not None for group in (*rollouts, *demos) for t in group.trajectories):
            metrics["episode/dropped"] = float(self.simulators.dropped)
        metrics["time/rollout"] = time.perf_counter() - start
        return StepBatch(tuple(rollouts), tuple(demos), tuple(sampled), metrics)

    def read_ahead(self, count: int | None) -> None:
        """Starts reading, in threads, what the next `count` samples of each kind that the stage draws need.

        None: what the next step draws, where that is worth it.
        """
        ahead, videos = self.mixture.ahead, media_of(self.policy)
        if ahead is None or count == 0 or (count is None and not self.mixture.reads_media):
            return
        prompts, demonstrations = (self.stage.prompts, self.stage.demonstrations) if count is None else (count, count)
        rollouts = self.mixture.upcoming(prompts) if self.objective.rollouts else []
        demos = self.mixture.upcoming(demonstrations, demonstrations=True) if self.objective.demonstrations else []
        jobs: dict[Hashable, Callable[[], Any]] = {}
        # A step draws rollouts and demonstrations, so the two lists are read ahead in turn.
        for upcoming in chain.from_iterable(zip_longest(rollouts, demos)):
            if upcoming is None:
                continue
            if upcoming.sample is None:
                jobs[upcoming.key] = upcoming.build
            elif videos is not None:
                jobs |= videos.jobs(upcoming.sample)
        ahead.want(jobs)

    def reading(self) -> dict[str, float]:
        """What reading videos took since the last call, and what is held of the next ones."""
        videos, ahead = media_of(self.policy), self.mixture.ahead
        figures = videos.figures() if videos is not None else {}
        nbytes = ahead.held if ahead is not None else 0
        return figures | ({"memory/read_ahead_gb": nbytes / 1e9} if nbytes else {})

    def _rollouts(self, seed: int) -> tuple[list[Group], list[Group], list[Group], dict[str, float]]:
        """Groups to learn from, demonstrations in the place of others, all groups sampled, and the figures.

        Injection and gate come before the filter, which would take the unsolved prompts that they are for. A prompt
        that the gate closed on keeps its place in the step.
        """
        prompts, objective = self.stage.prompts, self.objective
        rounds, most = 0, objective.filter.rounds if objective.filter is not None else 1
        places: list[_Place] = []
        sampled: list[Group] = []
        injected = gated = 0
        while rounds < most and len(places) < prompts:
            groups = self.sample(self.mixture.next(prompts), seed + 104729 * rounds)
            sampled, rounds = sampled + groups, rounds + 1
            if objective.inject is not None:
                groups, count = self._inject(groups, objective.inject)
                injected += count
            drawn = [self._gate(group, objective.gate) for group in groups]
            gated += sum(place.gated for place in drawn)
            places += [p for p in drawn if p.gated or objective.filter is None or _teaches(p.group, objective.filter)]
        total, metrics = max(1, len(sampled)), {}
        if objective.filter is not None:
            metrics = {"group/kept": len(places) / total, "group/rounds": float(rounds)}
        if objective.inject is not None:
            metrics["group/injected"] = injected / total
        if objective.gate is not None:
            metrics["group/gated"] = gated / total
        step = places[:prompts]
        return [p.group for p in step if not p.gated], [p.group for p in step if p.gated], sampled, metrics

    def sample(self, samples: Sequence[Sample], seed: int) -> list[Group]:
        """Scored groups of each sample, whatever its kind, in the samples' order."""
        return sample_each(self._means(), [self.preparer.take(sample) for sample in samples], self._terms(seed))

    def _means(self) -> Means:
        return Means(self.policy, self.engine, self.simulators, self.rewarder)

    def _terms(self, seed: int) -> Terms:
        # Controllers change how the stage samples (the temperature), not how many, nor under what context.
        rollout, critic = self.stage.rollout, self.objective.value is not None
        return replace(
            self._stage_terms,
            sampling=rollout,
            seed=seed,
            chunk=rollout.action_chunk,
            bootstrap=critic,
            progress=self.progress,
        )

    def _demonstrate(
        self, ready: Sequence[Ready], scored: bool = False, dressed: bool = False
    ) -> dict[int, Group | BadSample]:
        """See `mmrl.rollouts.sources.demonstrate_each`. `dressed`: they have the form in which they were answered."""
        bootstrap = self.objective.offline is not None
        terms = replace(self._terms(self.seed), n=1, bootstrap=bootstrap, labels=self.objective.relabel)
        if dressed:
            terms = replace(terms, context=None)
        return demonstrate_each(self._means(), ready, terms, scored)

    def _inject(self, groups: list[Group], inject: Inject) -> tuple[list[Group], int]:
        """The groups with a demonstration in the last rollout's place or behind it, and how many got one."""
        below = inject.below
        means = [sum(t.measured() for t in g.trajectories) / len(g.trajectories) for g in groups]
        chosen = [i for i, g in enumerate(groups) if g.sample.demonstration and (below is None or means[i] < below)]
        mixed, injected = list(groups), 0
        for place, demo in self._demonstrate([_again(groups[i]) for i in chosen], True, dressed=True).items():
            if isinstance(demo, BadSample):
                self.mixture.reject(demo)
                continue
            group, injected = groups[chosen[place]], injected + 1
            beside = [_at(t, self.stage.rollout.temperature) for t in demo.trajectories]
            own = group.trajectories if inject.place == "append" else group.trajectories[:-1]
            mixed[chosen[place]] = replace(group, trajectories=(*own, *beside))
        return mixed, injected

    def _gate(self, group: Group, gate: Gate | None) -> _Place:
        """The group, or its demonstration where the gate closes on it."""
        if gate is None or not group.sample.demonstration:
            # A prompt without a demonstration keeps its rollouts: there is nothing to swap them for.
            return _Place(group)
        if sum(t.measured() >= gate.threshold for t in group.trajectories) > gate.solved:
            return _Place(group)
        demo = self._demonstrate([_again(group)], dressed=True)[0]
        if isinstance(demo, BadSample):
            self.mixture.reject(demo)
            return _Place(group)
        return _Place(demo, gated=True)

    def _buffered(self, sampled: Sequence[Group], buffer: Buffer) -> tuple[list[Group], dict[str, float]]:
        """Demonstrations of prompts that have waited long enough, after the step's unsolved ones joined them."""
        if self._waiting is None:
            raise ValueError("objective.buffer remembers, and its stage has made no instance of it")
        places = []
        for group in sampled:
            solved = sum(t.measured() >= buffer.threshold for t in group.trajectories)
            if solved <= buffer.solved and group.sample.demonstrated and group.sample.draw is not None:
                places.append(Place(*group.sample.draw, group.sample.epoch))
        self._waiting.add(places)
        ready = []
        for place in self._waiting.release():
            try:
                ready.append(self.preparer.make(self.mixture.again(*place), rewarded=False))
            except BadSample as error:
                self.mixture.reject(error)
        learned: list[Group] = []
        for demo in self._demonstrate(ready).values():
            if isinstance(demo, BadSample):
                self.mixture.reject(demo)
            else:
                learned.append(demo)
        return learned, {"group/waiting": float(len(self._waiting)), "group/released": float(len(learned))}

    def _demonstrations(self, count: int) -> list[Group]:
        groups: list[Group] = []
        rejected = 0
        rows = sum(len(dataset) for dataset in self.mixture.datasets)
        while len(groups) < count:
            samples = self.mixture.next(count - len(groups), demonstrations=True)
            if self.objective.pairs:
                demos = self._pair(samples)
            else:
                demos = list(self._demonstrate([self.preparer.take(sample) for sample in samples]).values())
            for demo in demos:
                if not isinstance(demo, BadSample):
                    groups.append(demo)
                    rejected = 0
                    continue
                self.mixture.reject(demo)
                rejected += 1
                if rejected >= 2 * rows:
                    raise UserError(f"no demonstration can be used; the last: {demo}")
        return groups

    def _pair(self, samples: Sequence[Sample]) -> list[Group | BadSample]:
        """Each sample's demonstration and the answer that it is preferred to, behind one prompt."""
        pairs: list[Group | BadSample] = []
        for sample in samples:
            ready = self.preparer.take(sample)
            if not sample.demonstration or not sample.rejected or len(ready.prompts) != 1:
                pairs.append(BadSample(sample.where, "has no chosen and rejected answer, which this method needs"))
                continue
            worse = self.policy.localise(replace(sample, demonstration=sample.rejected), ready.prompts[0])
            both = self._demonstrate([ready, replace(ready, sample=worse)])
            group, other = both[0], both[1]
            if isinstance(group, BadSample) or isinstance(other, BadSample):
                pairs.append(group if isinstance(group, BadSample) else other)
                continue
            # Rows are compared where they share a prompt; that of a form was made twice, alike.
            prompt = group.trajectories[0].decisions[0].prompt
            rejected = (
                replace(t, origin=REJECTED, decisions=tuple(replace(d, prompt=prompt) for d in t.decisions))
                for t in other.trajectories
            )
            pairs.append(replace(group, trajectories=(*group.trajectories, *rejected)))
        return pairs


def _again(group: Group) -> Ready:
    return SOURCES.get(group.sample.kind).again(group)


def _at(trajectory: Trajectory, temperature: float) -> Trajectory:
    """The trajectory with its log-probs taken at the temperature of the rollouts that it stands beside."""
    return replace(trajectory, decisions=tuple(replace(d, temperature=temperature) for d in trajectory.decisions))


def _teaches(group: Group, settings: Filter) -> bool:
    """Whether the group's mean accuracy or reward lies strictly between the filter's bounds."""

    def score(trajectory: Trajectory) -> float:
        return trajectory.measured() if settings.by == "accuracy" else float(trajectory.reward or 0.0)

    return settings.low < fmean(map(score, group.trajectories)) < settings.high
