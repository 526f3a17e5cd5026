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
from typing import Any

from mmrl.contracts.types import Group, Prompt, Sample, Trajectory
from mmrl.recipe.data import BY_NAME
from mmrl.recipe.evaluation import SparseToDense
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.answers import answer
from mmrl.rollouts.rewarding import Rewarder
from vision_rewards.parsers import canonical_answer, extract_answer

PREFIX = "sparse_to_dense/"
# Prepares samples in order; None stands for one that was bad and is skipped.
Prepare = Callable[[Sequence[Sample]], Sequence[tuple[Sample, Prompt] | None]]


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
class _Reading:
    """A video on its way up.

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

    def outcome(self) -> Group:
        """The last level's answer, with what it took."""
        chosen = self.group.trajectories[self.vote.winner]
        facts = {key: getattr(self, key) for key in ("level", "frames", "frames_read")}
        info = {**chosen.info, **facts, "agreement": self.vote.share}
        return Group(self.group.sample, (replace(chosen, info=info),))


def settle(
    policy: Any,
    engine: Any,
    samples: Sequence[Sample],
    settings: SparseToDense,
    sampling: SamplingConfig,
    prepare: Prepare,
    rewarder: Rewarder,
    seed: int,
) -> list[Group]:
    """One group of one trajectory for each sample: the answer that stands.

    A video without the frames of a denser level is read whole, and settles once it has no more to give.

    Args:
        samples: rows with videos, as their dataset gives them.
        sampling: of the answers, apart from the temperature.
        prepare: called with the samples of each level; a sample that it gives up on has no group.

    Returns:
        In the order in which they settle. Each trajectory's info has `level` (the frames asked for where its answer
        stands), `frames` (those read there), `frames_read` (at all levels) and `agreement` (its answer's share).
    """
    sampling = sampling.model_copy(update={"temperature": settings.temperature})
    waiting = [_Reading(sample) for sample in samples]
    settled: list[_Reading] = []
    for number, count in enumerate(settings.levels):
        prepared = prepare([at_frames(reading.sample, count) for reading in waiting])
        ready = [(reading, pair) for reading, pair in zip(waiting, prepared, strict=True) if pair is not None]
        settled += [reading for reading, (_, prompt) in ready if prompt.frames <= reading.frames]
        ready = [(reading, pair) for reading, pair in ready if pair[1].frames > reading.frames]
        waiting = []
        if not ready:
            break
        pairs = [pair for _, pair in ready]
        groups = answer(policy, engine, pairs, sampling, settings.samples, seed + 104729 * number, rewarder)
        for (reading, (_, prompt)), group in zip(ready, groups, strict=True):
            result = vote([answer_of(trajectory) for trajectory in group.trajectories])
            total = reading.frames_read + prompt.frames
            read = _Reading(reading.sample, count, prompt.frames, total, group, result)
            agreed = result.share >= settings.agreement and not result.tied
            (settled if agreed or count == settings.levels[-1] else waiting).append(read)
    return [reading.outcome() for reading in settled]


def at_frames(sample: Sample, count: int) -> Sample:
    """The sample with its videos read at `count` frames, or whole where they have fewer."""
    video = sample.budgets.get("video", {})
    own = {key: value for key, value in video.items() if key not in BY_NAME or value is False}
    return replace(sample, budgets={**sample.budgets, "video": {**own, "min_frames": count, "max_frames": count}})


def answer_of(trajectory: Trajectory) -> str | None:
    """What a completion answers, equal for answers that say the same; None where nothing can be read.

    It is what the task's reward has parsed; of a reward that parses nothing (a user's), what `majority` would read.
    """
    info = trajectory.info
    if "parsed" not in info:
        text = extract_answer(trajectory.text, "auto")[0]
        return None if text is None else canonical_answer(text)
    parsed = info["parsed"]
    if parsed is None or info["reason"] != "ok":
        return None
    return canonical_answer(parsed) if isinstance(parsed, str) else json.dumps(parsed, sort_keys=True)


def vote(answers: Sequence[str | None]) -> Vote:
    """The most frequent answer, the first of those that tie; None is no answer, but counts in the share."""
    ranking = Counter(one for one in answers if one is not None).most_common(2)
    if not ranking:
        return Vote(0.0, 0)
    first, votes = ranking[0]
    return Vote(votes / len(answers), answers.index(first), len(ranking) == 2 and ranking[1][1] == votes)


def figures(groups: Sequence[Group]) -> dict[str, float]:
    """Mean frames, and the share of the videos settled at each level, of the groups that `settle` gave; else empty.

    `frames` counts the level whose answer stands, `frames_read` all levels of a video, which is what it cost.
    """
    infos = [group.trajectories[0].info for group in groups if "frames_read" in group.trajectories[0].info]
    if not infos:
        return {}
    means = {name: sum(info[name] for info in infos) / len(infos) for name in ("frames", "frames_read", "agreement")}
    levels = Counter(info["level"] for info in infos)
    shares = {f"settled_{level}": levels[level] / len(infos) for level in sorted(levels)}
    return {PREFIX + name: value for name, value in (means | shares).items()}
