"""Sparse-to-dense reading of held-out videos: more frames only where the sampled answers disagree.

A video is read with few frames and some answers are sampled; where enough of them agree, their answer stands, else the
video is read anew with more frames. What most say at the last level stands in any case.

Source: Video-RTS (arXiv 2507.06485). Its released code starts at 32 frames, doubles up to 64 or 128, asks for 5 equal
answers, and takes the most frequent one at the last level, the first of those that tie. It differs in this: an answer
that cannot be read counts there as one answer more, and here against every answer; temperature and top-p vary there
from sample to sample.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from mmrl.contracts.engine import Engine
from mmrl.contracts.policy import Policy
from mmrl.contracts.source import Ready, Scorer
from mmrl.contracts.types import Group, Sample, Trajectory, VideoPrompt
from mmrl.recipe.budgets import BY_NAME
from mmrl.recipe.evaluation import SparseToDense
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.answers import answer
from vision_rewards.parsers import canonical_answer, extract_answer

PREFIX = "sparse_to_dense/"
# Prepares samples in order; None stands for one that was bad and is skipped.
Prepare = Callable[[Sequence[Sample]], Sequence[Ready | None]]


@dataclass(frozen=True, slots=True)
class Vote:
    """What the samples of a level say.

    Attributes:
        share: of the most frequent answer among all samples; 0 where none can be read.
        winner: the first sample that gives it; 0 where none can be read.
        tied: another answer is as frequent.
    """

    share: float
    winner: int
    tied: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """A video on its way up, or settled.

    Attributes:
        sample: as its dataset gives it.
        level: frames asked for at the last level.
        frames: frames read there.
        frames_read: frames read at all levels so far.
        group, vote: the last level's result.
    """

    sample: Sample
    level: int = 0
    frames: int = 0
    frames_read: int = 0
    group: Group | None = None
    vote: Vote | None = None

    @property
    def result(self) -> tuple[Group, Vote]:
        """`group` and `vote`. Raises ValueError before the first level."""
        if self.group is None or self.vote is None:
            raise ValueError(f"{self.sample.where} has not been read yet")
        return self.group, self.vote

    def outcome(self) -> Group:
        """The last level's answer, with what it took."""
        group, result = self.result
        chosen = group.trajectories[result.winner]
        return Group(group.sample, (replace(chosen, info={**chosen.info, **self.facts()}),))

    def facts(self) -> dict[str, float]:
        """The level where its answer stands, the frames read there and at all levels, and its answer's share."""
        facts = {key: getattr(self, key) for key in ("level", "frames", "frames_read")}
        return {**facts, "agreement": self.result[1].share}


def settle(
    policy: Policy,
    engine: Engine,
    samples: Sequence[Sample],
    settings: SparseToDense,
    sampling: SamplingConfig,
    prepare: Prepare,
    rewarder: Scorer,
    seed: int,
) -> list[Reading]:
    """Each sample settled: its `outcome` is the answer that stands.

    A video without the frames of a denser level is read whole, and settles once it has no more to give.

    Args:
        samples: rows with videos, as their dataset gives them.
        sampling: of the answers, apart from the temperature.
        prepare: called with the samples of each level; a sample that it gives up on does not settle.

    Returns:
        In the order in which they settle.
    """
    sampling = sampling.model_copy(update={"temperature": settings.temperature})
    waiting = [Reading(sample) for sample in samples]
    settled: list[Reading] = []
    for number, count in enumerate(settings.levels):
        prepared = prepare([at_frames(reading.sample, count) for reading in waiting])
        ready = [(reading, item) for reading, item in zip(waiting, prepared, strict=True) if item is not None]
        settled += [reading for reading, item in ready if _frames(item) <= reading.frames]
        ready = [(reading, item) for reading, item in ready if _frames(item) > reading.frames]
        waiting = []
        if not ready:
            break
        asked = [item for _, item in ready]
        groups = answer(policy, engine, asked, sampling, settings.samples, seed + 104729 * number, rewarder)
        for (reading, item), group in zip(ready, groups, strict=True):
            result = vote([answer_of(trajectory) for trajectory in group.trajectories])
            total = reading.frames_read + _frames(item)
            read = Reading(reading.sample, count, _frames(item), total, group, result)
            agreed = result.share >= settings.agreement and not result.tied
            (settled if agreed or count == settings.levels[-1] else waiting).append(read)
    return settled


def _frames(ready: Ready) -> int:
    """Frames of the videos of a question that were read."""
    return cast(VideoPrompt, ready.prompts[0]).frames


def at_frames(sample: Sample, count: int) -> Sample:
    """The sample with its videos read at `count` frames, or whole where they have fewer."""
    video = sample.budgets.get("video", {})
    settings = {key: value for key, value in video.items() if key not in BY_NAME or value is False}
    return replace(sample, budgets={**sample.budgets, "video": {**settings, "min_frames": count, "max_frames": count}})


def answer_of(trajectory: Trajectory) -> str | None:
    """What a completion answers, equal for answers that say the same; None where nothing can be read.

    It is what the task's reward has parsed; of a reward that parses nothing (a user's), what `majority` would read.
    """
    if trajectory.reason is None:
        text = extract_answer(trajectory.text, "auto")[0]
        return None if text is None else canonical_answer(text)
    parsed = trajectory.parsed
    if parsed is None or trajectory.reason != "ok":
        return None
    return canonical_answer(parsed) if isinstance(parsed, str) else json.dumps(parsed, sort_keys=True)


def vote(answers: Sequence[str | None]) -> Vote:
    """The most frequent answer, the first of those that tie; None is no answer, but counts in the share."""
    ranking = Counter(answer for answer in answers if answer is not None).most_common(2)
    if not ranking:
        return Vote(0.0, 0)
    first, votes = ranking[0]
    return Vote(votes / len(answers), answers.index(first), len(ranking) == 2 and ranking[1][1] == votes)


def figures(settled: Sequence[Reading]) -> dict[str, float]:
    """Mean frames, and the share of the videos settled at each level; empty where there are none.

    `frames` counts the level whose answer stands, `frames_read` all levels of a video, which is what it cost.
    """
    if not settled:
        return {}
    facts = [reading.facts() for reading in settled]
    means = {name: sum(each[name] for each in facts) / len(facts) for name in ("frames", "frames_read", "agreement")}
    levels = Counter(reading.level for reading in settled)
    shares = {f"settled_{level}": levels[level] / len(settled) for level in sorted(levels)}
    return {PREFIX + name: value for name, value in (means | shares).items()}
