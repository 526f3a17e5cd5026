"""Rewards of trajectories: named rewards from vision_rewards, or the user's own function."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any

import vision_rewards
import vision_rewards.registry
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Sample, Trajectory
from mmrl.recipe.rewards import REWARDS, RewardConfig
from vision_rewards.plain import answer_text, read_options
from vision_rewards.registry import normalize_task

UserReward = Callable[[str, Sample], "float | Mapping[str, float]"]
SCORING_THREADS = 8


class Rewarder:
    """The weighted sum of a recipe's rewards, with every part reported.

    A user's function takes (completion, sample) and returns a number, or a mapping of parts of which `reward` is the
    total and `accuracy`, where present, what evaluation reports. It may have `target_of`, see there.
    """

    def __init__(self, configs: Sequence[RewardConfig], user: UserReward | None = None):
        self.parts: list[tuple[str, float, Any, bool]] = []
        for i, config in enumerate(configs):
            self.parts.append(_part(config, f"rewards.{i}"))
        if user is not None:
            self.parts = [(getattr(user, "__name__", "reward"), 1.0, user, True)]
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
            reward_object = reward.func if isinstance(reward, partial) else reward
            if is_user and hasattr(reward_object, "target_of") and _shapes(reward_object, task):
                text = answer_text(answer) if isinstance(answer, str) else answer
                target = reward_object.target_of(text, read_options(options), task)
                if not isinstance(target, Mapping):
                    raise ConfigError(f"reward '{name}': target_of returned {type(target).__name__}, not a mapping")
                return dict(target)
        library = [reward for _, _, reward, is_user in self.parts if not is_user]
        return vision_rewards.target_of(
            task, answer, options, [reader for reward in library for reader in reward.readers(task)]
        )

    def check(self, sample: Sample) -> None:
        """Raises BadSample when a named reward cannot read the sample's target."""
        for name, _, reward, is_user in self.parts:
            if is_user:
                continue
            try:
                chosen = reward.for_task(sample.task)
                if not chosen.needs_group:
                    chosen.check(sample.target)
            except ValueError as error:
                raise BadSample(sample.where, f"reward '{name}' cannot read the target: {error}") from None

    def with_group(self, texts: Sequence[str], sample: Sample) -> Sample:
        """The sample with what rewards of agreement take from all answers to it."""
        target = sample.target
        for _, _, reward, is_user in self.parts:
            if not is_user:
                target = reward.for_task(sample.task).with_group(texts, target)
        return sample if target is sample.target else replace(sample, target=target)

    def score_all(self, pairs: Sequence[tuple[Trajectory, Sample]]) -> list[Trajectory]:
        """`score` of each pair, in order.

        Rewards that wait for another process or a server run side by side; a user's functions are called one at a time.
        """
        if not any(self._waits(sample) for _, sample in pairs):
            return [self.score(trajectory, sample) for trajectory, sample in pairs]
        with ThreadPoolExecutor(SCORING_THREADS) as threads:
            return list(threads.map(lambda pair: self.score(*pair), pairs))

    def _waits(self, sample: Sample) -> bool:
        if any(is_user for *_, is_user in self.parts):
            return False
        return any(reward.for_task(sample.task).waits for _, _, reward, _ in self.parts)

    def score(self, trajectory: Trajectory, sample: Sample) -> Trajectory:
        """The trajectory with its reward in [0, 1] (weighted mean over the parts that apply), parts and accuracy."""
        total, weight_sum, answered, applied = 0.0, 0.0, False, False
        parts: dict[str, float | None] = {}
        info: dict[str, Any] = {}
        score: float | None
        for name, weight, reward, is_user in self.parts:
            if is_user:
                score, more = _from_user(reward, trajectory.text, sample)
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
        if not applied and not self._needs_group(sample):
            raise BadSample(sample.where, f"no reward gave a score for task '{sample.task}': {info['reason']}")
        # A group without a majority, and an answer that is only measured, earn nothing.
        reward = total / weight_sum if weight_sum else 0.0
        return replace(
            trajectory,
            reward=reward,
            parts=parts,
            accuracy=info.get("accuracy", reward),
            parsed=info.get("parsed"),
            reason=info.get("reason"),
        )

    def _needs_group(self, sample: Sample) -> bool:
        return any(not is_user and reward.for_task(sample.task).needs_group for _, _, reward, is_user in self.parts)


def _shapes(reward: Any, task: str) -> bool:
    tasks = getattr(reward, "tasks", None)
    return tasks is None or normalize_task(task) in map(normalize_task, tasks)


def _from_library(reward: Any, text: str, sample: Sample) -> tuple[float | None, dict[str, Any]]:
    chosen = reward.for_task(sample.task)
    result = chosen(text, sample.target)
    info = {
        "parsed": result.parsed,
        "reason": result.reason,
        "parts": dict(result.parts),
        "is_answer": chosen.is_answer,
    }
    if result.score is not None:
        info["accuracy"] = chosen.accuracy(result)
    return result.score, info


def _from_user(function: UserReward, text: str, sample: Sample) -> tuple[float, dict[str, Any]]:
    name = getattr(function, "__name__", "reward")
    value = function(text, sample)
    parts = dict(value) if isinstance(value, Mapping) else {"reward": value}
    if "reward" not in parts:
        raise ConfigError(f"reward function '{name}' returned {sorted(parts)}; a mapping needs the key 'reward'")
    for key, number in parts.items():
        if not isinstance(number, Real) or not math.isfinite(number):
            raise ConfigError(
                f"reward function '{name}' returned {key}={number!r} for {sample.where}; give a finite number"
            )
    info: dict[str, Any] = {"parts": {k: float(v) for k, v in parts.items() if k != "reward"}}
    info["is_answer"] = "accuracy" in parts
    if "accuracy" in parts:
        info["accuracy"] = float(parts["accuracy"])
    return float(parts["reward"]), info


def _part(config: RewardConfig, key: str) -> tuple[str, float, Any, bool]:
    """(name, weight, reward or function, whether it is a user's function). Raises ConfigError."""
    part = REWARDS.get(config.name, f"{key}.name")
    name = config.name.rpartition(":")[2]
    if isinstance(part, type) and issubclass(part, vision_rewards.Reward):
        try:
            return name, config.weight, vision_rewards.registry.build(part, name, **config.params), False
        except ValueError as error:
            raise ConfigError(f"{key}.name: {error}") from None
    if not callable(part):
        raise ConfigError(f"{key}.name: '{config.name}' is no function and no reward class, but {type(part).__name__}")
    try:
        inspect.signature(part).bind("completion", "sample", **config.params)
    except TypeError as error:
        raise ConfigError(
            f"{key}: '{config.name}' is called with (completion, sample) and params {sorted(config.params)}, and its "
            f"signature does not take them: {error}"
        ) from None
    return name, config.weight, partial(part, **config.params) if config.params else part, True
