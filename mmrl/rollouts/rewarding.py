"""Rewards of trajectories: named rewards from vision_rewards, or the user's own function."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from statistics import fmean
from typing import Any

import vision_rewards
import vision_rewards.registry
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Sample, Trajectory
from mmrl.contracts.world import ALONE, World
from mmrl.parallel.dealing import deal
from mmrl.recipe.rewards import REWARDS, RewardConfig
from mmrl.rollouts.own_rewards import Answer, OwnReward, RewardError, Score, gold_of
from vision_rewards.plain import answer_text, read_options
from vision_rewards.pool import WorkerKilled
from vision_rewards.registry import normalize_task
from vision_rewards.types import numbered

# In any of the forms of `mmrl.recipe.reward_forms`.
UserReward = Callable[..., Any]
SCORING_THREADS = 8
# Figures beside those of the parts, which no part may be named as.
TOTALS = ("mean", "std")
# What of a trajectory a score is.
SCORED = ("reward", "accuracy", "parts", "parsed", "reason", "info")
# The fact of an answer to which no reward applied.
UNREWARDED = "unrewarded"


class Rewarder:
    """The weighted sum of a recipe's rewards, with every part reported.

    A user's function takes (completion, sample), or what another of `mmrl.recipe.reward_forms` takes, and returns a
    number, None where it does not apply, or a mapping of parts of which `reward` is the total and `accuracy`, where
    present, what evaluation reports. It may have `target_of`, see there.
    """

    def __init__(self, configs: Sequence[RewardConfig], user: UserReward | None = None, world: World = ALONE):
        self.world = world
        parts = [_part(config, f"rewards.{i}") for i, config in enumerate(configs)]
        for i, (name, *_) in enumerate(parts):
            if name in TOTALS:
                raise ConfigError(
                    f"rewards.{i}.name: '{name}' would be reported as reward/{name}, which is the total's"
                )
        # A figure for each part, also where two have one name.
        labels = numbered(name for name, *_ in parts)
        self.parts = [(label, *part) for label, (_, *part) in zip(labels, parts)]
        if user is not None:
            own = OwnReward(user)
            if own.name in TOTALS:
                raise ConfigError(f"reward= is named '{own.name}', and reward/{own.name} is the total's; rename it")
            self.parts = [(own.name, 1.0, own, True)]
        self.total_weight = sum(weight for _, weight, _, _ in self.parts)

    @property
    def tightens(self) -> bool:
        """Whether `at` gives other rewards at other points of the training."""
        return any(not is_user and reward.tightens for _, _, reward, is_user in self.parts)

    def at(self, progress: float) -> Rewarder:
        """The same rewards at this share of the training, in [0, 1], for those that tighten over it."""
        moved = copy.copy(self)
        moved.parts = [
            (name, weight, reward if is_user else reward.at(progress), is_user)
            for name, weight, reward, is_user in self.parts
        ]
        return moved

    def target_of(self, task: str, answer: Any, options: Any = None) -> dict[str, Any]:
        """The target that a row's plain answer stands for.

        A user's reward that has `target_of(answer, options, task)` makes it, for every task or for those in its
        `tasks`; else the reward that declares the task, or for a task that none declares the recipe's own.

        Args:
            task, answer, options: as for `vision_rewards.target_of`.

        Raises:
            ValueError: the answer does not fit.
            ConfigError: a user's `target_of` returned something else than a mapping.
        """
        for name, _, reward, is_user in self.parts:
            if is_user and hasattr(reward.function, "target_of") and _shapes(reward.function, task):
                text = answer_text(answer) if isinstance(answer, str) else answer
                target = reward.function.target_of(text, read_options(options), task)
                if not isinstance(target, Mapping):
                    raise ConfigError(f"reward '{name}': target_of returned {type(target).__name__}, not a mapping")
                return dict(target)
        library = [reward for _, _, reward, is_user in self.parts if not is_user]
        return vision_rewards.target_of(
            task, answer, options, [reader for reward in library for reader in reward.readers(task)]
        )

    def check(self, sample: Sample) -> None:
        """Raises BadSample when a named reward cannot read the sample's target, or the task is named as a figure."""
        if sample.task == "mean":
            raise BadSample(sample.where, "the task is named 'mean', and accuracy/mean is that of all tasks; rename it")
        for name, _, reward, is_user in self.parts:
            if is_user:
                continue
            try:
                chosen = reward.for_task(sample.task)
                if not chosen.needs_group:
                    chosen.check(target_for(chosen, sample))
            except ValueError as error:
                if sample.demonstrated and not sample.target:
                    raise BadSample(
                        sample.where,
                        f"has a demonstration and no target, so reward '{name}' cannot score answers to it; give it a "
                        "task and a target, or set `use: demonstrations` of its dataset",
                    ) from None
                raise BadSample(sample.where, f"reward '{name}' cannot read the target: {error}") from None

    def only_learned(self, sample: Sample) -> bool:
        """Whether the sample is a demonstration in text without a target that answers could be scored by."""
        if sample.target or not sample.demonstrated or sample.simulator is not None:
            return False
        if sample.actions is not None or sample.steps:
            return False
        try:
            self.check(sample)
        except BadSample:
            return True
        return False

    def with_group(self, texts: Sequence[str], sample: Sample) -> Sample:
        """The sample with what rewards of agreement take from all answers to it."""
        target = sample.target
        for _, _, reward, is_user in self.parts:
            if not is_user:
                target = reward.for_task(sample.task).with_group(texts, target)
        return sample if target is sample.target else replace(sample, target=target)

    def score_all(self, pairs: Sequence[tuple[Trajectory, Sample]]) -> list[Trajectory]:
        """`score` of each pair, in order; neighbours with one sample object are a group.

        Rewards that wait for another process or a server run side by side; a user's functions are called one at a time,
        before them. An answer to which no reward applies gets the mean reward of its group's others, or 0: it neither
        gains nor loses by it. Of several processes each scores its deal of the groups.
        """
        shares = _shares(pairs, self.world.size)
        parts = self.world.each("rewards", shares, lambda share: self._earned([pairs[i] for i in share]), lambda _: 1.0)
        earned = {i: facts for share, part in zip(shares, parts) for i, facts in zip(share, part, strict=True)}
        return [replace(trajectory, **earned[i]) for i, (trajectory, _) in enumerate(pairs)]

    def _earned(self, pairs: Sequence[tuple[Trajectory, Sample]]) -> list[dict[str, Any]]:
        """What scoring the pairs changes about their trajectories. A process without a group calls no reward."""
        if not pairs:
            return []
        return [{name: getattr(scored, name) for name in SCORED} for scored in self._score(pairs)]

    def _score(self, pairs: Sequence[tuple[Trajectory, Sample]]) -> list[Trajectory]:
        own = self._own_scores(pairs)
        jobs = [(trajectory, sample, given) for (trajectory, sample), given in zip(pairs, own, strict=True)]
        if any(self._waits(sample) for _, sample in pairs):
            with ThreadPoolExecutor(SCORING_THREADS) as threads:
                scored = list(threads.map(lambda job: self._weighed(*job), jobs))
        else:
            scored = [self._weighed(*job) for job in jobs]
        return _neutral(scored, [sample for _, sample in pairs])

    def score(self, trajectory: Trajectory, sample: Sample) -> Trajectory:
        """The trajectory with its reward in [0, 1] (weighted mean over the parts that apply), parts and accuracy."""
        return self.score_all([(trajectory, sample)])[0]

    def try_own(self, samples: Sequence[Sample]) -> dict[str, list[float | None]]:
        """What the user's functions give for the demonstration or the right answer of some samples, by their names.

        Raises:
            RewardError: one fails, or returns what is no score.
        """
        pairs = [(Trajectory((), text=sample.demonstration or str(gold_of(sample))), sample) for sample in samples]
        answers = _answers(pairs)
        return {own.name: [s.reward for s in own.scores(answers)] for _, _, own, is_user in self.parts if is_user}

    def _own_scores(self, pairs: Sequence[tuple[Trajectory, Sample]]) -> list[dict[int, Score]]:
        """What each of the user's functions, by its place among the parts, says of each pair."""
        given: list[dict[int, Score]] = [{} for _ in pairs]
        answers = _answers(pairs) if any(is_user for *_, is_user in self.parts) else []
        for place, (_, _, own, is_user) in enumerate(self.parts):
            if is_user:
                for scores, score in zip(given, own.scores(answers), strict=True):
                    scores[place] = score
        return given

    def _waits(self, sample: Sample) -> bool:
        return any(not is_user and reward.for_task(sample.task).waits for _, _, reward, is_user in self.parts)

    def _weighed(self, trajectory: Trajectory, sample: Sample, own: Mapping[int, Score]) -> Trajectory:
        """The trajectory with the weighted mean of the parts that apply; its reward is None where none does."""
        total, weight_sum, answered, applied = 0.0, 0.0, False, False
        parts: dict[str, float | None] = {}
        info: dict[str, Any] = {}
        score: float | None
        for place, (name, weight, reward, is_user) in enumerate(self.parts):
            if is_user:
                score, more = _from_user(own[place])
            else:
                score, more = _from_library(reward, trajectory.text, sample)
            parts[name] = score
            parts.update({f"{name}.{k}": v for k, v in more.pop("parts", {}).items()})
            if score is not None:
                total, weight_sum, applied = total + weight * score, weight_sum + weight, True
            # The answer's accuracy counts, not that of a format or length part listed before it.
            if more.pop("is_answer") and not answered and score is not None:
                info, answered = {**info, **more}, True
            else:
                info = {**more, **info}
        if not applied and not own and not self._needs_group(sample):
            raise BadSample(sample.where, f"no reward gave a score for task '{sample.task}': {info['reason']}")
        # A group without a majority, and an answer that is only measured, earn nothing.
        earned = total / weight_sum if weight_sum else 0.0
        abstained = not applied and bool(own)
        return replace(
            trajectory,
            reward=None if abstained else earned,
            parts=parts,
            accuracy=None if abstained else info.get("accuracy", earned),
            parsed=info.get("parsed"),
            reason=info.get("reason"),
        )

    def _needs_group(self, sample: Sample) -> bool:
        return any(not is_user and reward.for_task(sample.task).needs_group for _, _, reward, is_user in self.parts)


def _shapes(reward: Any, task: str) -> bool:
    tasks = getattr(reward, "tasks", None)
    return tasks is None or normalize_task(task) in map(normalize_task, tasks)


def target_for(reward: vision_rewards.Reward, sample: Sample) -> Mapping[str, Any]:
    """The sample's target; for a reward that reads what was asked, the row's own `question`, else the prompt's."""
    if not reward.reads_question or sample.target.get("question") is not None:
        return sample.target
    asked = sample.question
    return {**sample.target, "question": asked} if asked else sample.target


def _from_library(reward: Any, text: str, sample: Sample) -> tuple[float | None, dict[str, Any]]:
    chosen = reward.for_task(sample.task)
    try:
        result = chosen(text, target_for(chosen, sample))
    except WorkerKilled as error:
        raise RewardError(f"reward '{type(chosen).__name__}' gave no score for {sample.where}: {error}") from None
    info = {
        "parsed": result.parsed,
        "reason": result.reason,
        "parts": dict(result.parts),
        "is_answer": chosen.is_answer,
    }
    if result.score is not None:
        info["accuracy"] = chosen.accuracy(result)
    return result.score, info


def _from_user(score: Score) -> tuple[float | None, dict[str, Any]]:
    info: dict[str, Any] = {"parts": dict(score.parts), "is_answer": score.accuracy is not None}
    if score.accuracy is not None:
        info["accuracy"] = score.accuracy
    return score.reward, info


def _shares(pairs: Sequence[tuple[Trajectory, Sample]], size: int) -> list[list[int]]:
    """The pairs that each process scores, whole groups of neighbours with one sample object."""
    groups = [list(members) for _, members in groupby(range(len(pairs)), key=lambda i: id(pairs[i][1]))]
    owners = deal([len(group) for group in groups], size)
    return [[i for group, owner in zip(groups, owners) if owner == rank for i in group] for rank in range(size)]


def _answers(pairs: Sequence[tuple[Trajectory, Sample]]) -> list[Answer]:
    """The pairs with the texts of their groups: neighbours with one sample object."""
    answers: list[Answer] = []
    for _, members in groupby(pairs, key=lambda pair: id(pair[1])):
        group = list(members)
        texts = tuple(trajectory.text for trajectory, _ in group)
        answers += [Answer(trajectory, sample, texts) for trajectory, sample in group]
    return answers


def _neutral(scored: Sequence[Trajectory], samples: Sequence[Sample]) -> list[Trajectory]:
    """The trajectories, those without a reward with the mean of their group's others, or 0, and an accuracy of 0."""
    if all(trajectory.reward is not None for trajectory in scored):
        return list(scored)
    rewards: dict[int, list[float]] = {}
    for trajectory, sample in zip(scored, samples, strict=True):
        if trajectory.reward is not None:
            rewards.setdefault(id(sample), []).append(trajectory.reward)
    filled = []
    for trajectory, sample in zip(scored, samples, strict=True):
        if trajectory.reward is None:
            others = rewards.get(id(sample))
            info = {**trajectory.info, UNREWARDED: True}
            trajectory = replace(trajectory, reward=fmean(others) if others else 0.0, accuracy=0.0, info=info)
        filled.append(trajectory)
    return filled


def _part(config: RewardConfig, key: str) -> tuple[str, float, Any, bool]:
    """(name, weight, reward or function, whether it is a user's function). Raises ConfigError."""
    part = REWARDS.get(config.name, f"{key}.name")
    name = config.name.rpartition(":")[2]
    if isinstance(part, type) and issubclass(part, vision_rewards.Reward):
        try:
            return name, config.weight, vision_rewards.registry.build(part, name, **config.params), False
        except ValueError as error:
            raise ConfigError(f"{key}.name: {error}") from None
    return name, config.weight, OwnReward(part, config.params, key, config.range), True
