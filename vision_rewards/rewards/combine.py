"""Several rewards as one: a weighted mean or a gated product, with bands that tighten over training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from vision_rewards.parsers import write_together
from vision_rewards.registry import get_reward
from vision_rewards.types import AnswerReward, Reward, RewardResult, TargetError, is_number, nearest, numbered, param

Bands = tuple[tuple[float, float], ...]


def _member(part: Any) -> tuple[Reward, float]:
    if not isinstance(part, (list, tuple)) or len(part) not in (2, 3):
        raise ValueError(f"reward 'combine': {part!r} is not (name, weight) or (name, weight, params)")
    reward, weight, params = (*part, {})[:3]
    if not is_number(weight) or weight <= 0:
        raise ValueError(f"reward 'combine': the weight {weight!r} of {reward!r} is not a number above 0")
    if not isinstance(params, Mapping):
        raise ValueError(f"reward 'combine': the parameters {params!r} of {reward!r} are not a mapping")
    return (reward if isinstance(reward, Reward) else get_reward(reward, **params)), float(weight)


def _bands(label: str, phases: Any) -> Bands:
    """The bands of one part, checked: each phase's edges are at least the previous one's."""
    place = f"reward 'combine': bands of {label!r}"
    if not isinstance(phases, (list, tuple)) or not phases:
        raise ValueError(f"{place}: {phases!r} is not a list of [low, high], one per phase")
    last = (0.0, 0.0)
    for band in phases:
        if not isinstance(band, (list, tuple)) or len(band) != 2 or not all(map(is_number, band)):
            raise ValueError(f"{place}: {band!r} is not [low, high]")
        if not 0 <= band[0] <= band[1] <= 1 or band[1] == 0:
            raise ValueError(f"{place}: {list(band)} is not 0 <= low <= high <= 1 with high above 0")
        if band[0] < last[0] or band[1] < last[1]:
            raise ValueError(f"{place}: {list(band)} is laxer than {list(last)} before it; phases may only tighten")
        last = (float(band[0]), float(band[1]))
    return tuple((float(low), float(high)) for low, high in phases)


def in_band(score: float, bands: Bands, progress: float) -> float:
    """0 below the low edge of the phase's band, 1 from its high edge on, the score itself between.

    Args:
        score: in [0, 1].
        bands: one (low, high) per phase; phases share the training equally.
        progress: in [0, 1].
    """
    low, high = bands[min(int(progress * len(bands)), len(bands) - 1)]
    return 1.0 if score >= high else 0.0 if score < low else score


def _written(rewards: Sequence[Reward], target: Mapping[str, Any]) -> str:
    """The first reward's right answer, and beside it those of rewards that read other tags or fields."""
    task = target.get("task")
    routed = [reward.for_task(task) if isinstance(task, str) else reward for reward in rewards]
    readers = [reward for reward in routed if isinstance(reward, AnswerReward)]
    if len({(reward.place.tag, reward.place.field) for reward in readers}) < 2:
        return rewards[0].gold(target)
    return write_together([(reward.place, reward.gold_answer(target)) for reward in readers])


@dataclass(frozen=True, kw_only=True)
class Combine(Reward):
    """Several rewards of one completion."""

    name = "combine"
    summary = "Weighted mean or gated product of other rewards, each reported as a part."
    target_keys: ClassVar = {}
    formula = (
        "over the parts that apply to the target: mean: Σ wᵢ sᵢ / Σ wᵢ; product: Π sᵢ^wᵢ; none applies: no score. "
        "With bands [lo, hi] for the phase ⌊progress · phases⌋, sᵢ becomes 0 below lo, 1 from hi on"
    )
    source = (
        "mean: EasyVideoR1's 0.9 · accuracy + 0.1 · format, for any parts; bands: Vision-R1's progressive rule "
        "(Zhan et al. 2025), released as [[0.5, 0.75], [0.75, 0.9]] with the change at step 1500"
    )
    closes = (
        "a part that does not apply leaves the denominator: it neither gives nor costs",
        "mode `product`: the reward of form is worth nothing without a right answer, nor the reverse",
    )
    part_defaults: ClassVar = {"accuracy": 0.0}
    metric_part = "accuracy"
    examples = (
        (
            {"text": "EXIT 24"},
            "<answer>EXIT 24</answer>",
            "right text in the asked-for tags",
            {"parts": [["ocr", 0.9], ["format", 0.1]]},
        ),
        (
            {"text": "EXIT 24"},
            "EXIT 24",
            "the right text without tags loses the share of the form",
            {"parts": [["ocr", 0.9], ["format", 0.1]]},
        ),
        (
            {"text": "EXIT 24"},
            "EXIT 24",
            "in a product the form is a gate",
            {"parts": [["ocr", 1], ["format", 1]], "mode": "product"},
        ),
        (
            {"box": [0, 0, 10, 10]},
            "[0, 0, 10, 7]",
            "IoU 0.7 is below the band of the second phase",
            {"parts": [["iou", 1]], "bands": {"iou": [[0.5, 0.75], [0.75, 0.9]]}},
        ),
    )

    parts: tuple = param((), "list of [name, weight] or [name, weight, parameters]; weights above 0")
    mode: str = param("mean", "how the parts make one score", choices=("mean", "product"))
    bands: Mapping[str, Any] | None = param(
        None,
        "part → list of [low, high], one for each equal phase of the training: `{iou: [[0.5, 0.75], [0.75, 0.9]]}`",
    )
    progress: float = param(
        1.0, "share of the training that is done; `at` sets it, evaluation leaves it", low=0, high=1
    )
    members: tuple[tuple[str, float, Reward], ...] = dataclasses.field(init=False, repr=False)
    phases: Mapping[str, Bands] = dataclasses.field(init=False, repr=False)

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.parts, (list, tuple)) or not self.parts:
            raise ValueError("reward 'combine': parameter 'parts' is not a list with at least one part")
        parts = [*map(_member, self.parts)]
        labels = numbered(reward.name for reward, _ in parts)
        members = [(label, weight, reward.at(self.progress)) for label, (reward, weight) in zip(labels, parts)]
        bands = {} if self.bands is None else self.bands
        if not isinstance(bands, Mapping):
            raise ValueError(f"reward 'combine': parameter 'bands' is {bands!r}, not a mapping of part to bands")
        if unknown := [label for label in bands if label not in labels]:
            raise ValueError(f"reward 'combine': no part {unknown[0]!r} to band; {nearest(str(unknown[0]), labels)}")
        object.__setattr__(self, "members", tuple(members))
        object.__setattr__(self, "phases", {label: _bands(label, phases) for label, phases in bands.items()})

    @property
    def waits(self):
        return any(reward.waits for _, _, reward in self.members)

    @property
    def reads_question(self):
        return any(reward.reads_question for _, _, reward in self.members)

    def applies(self, target):
        return any(reward.applies(target) for _, _, reward in self.members)

    def for_task(self, task):
        parts = tuple((reward.for_task(task), weight) for _, weight, reward in self.members)
        # A part that routes changes its name; its bands stay with its place.
        renamed = dataclasses.replace(self, parts=parts, bands=None)
        labels = [label for label, _, _ in renamed.members]
        phases = {new: self.phases[old] for new, (old, _, _) in zip(labels, self.members) if old in self.phases}
        return dataclasses.replace(renamed, bands=phases or None)

    def readers(self, task):
        return [reader for _, _, reward in self.members for reader in reward.readers(task)]

    @property
    def tightens(self):
        return bool(self.phases) or any(reward.tightens for _, _, reward in self.members)

    def at(self, progress):
        return dataclasses.replace(
            self, parts=tuple((reward, weight) for _, weight, reward in self.members), progress=progress
        )

    def check_target(self, target):
        if not self.applies(target):
            names = [label for label, _, _ in self.members]
            raise TargetError(f"none of {names} applies to a target with the keys {sorted(target)}")

    def check(self, target):
        """As of every reward, for each part that applies."""
        super().check(target)
        for _, _, reward in self.members:
            if reward.applies(target):
                reward.check(target)

    def proves(self, target):
        return all(reward.proves(target) for _, _, reward in self.members if reward.applies(target))

    def gold(self, target):
        rewards = [reward for _, _, reward in self.members if reward.applies(target)]
        # A stable sort: rewards of answers write the answer, rewards of form then dress it.
        rewards.sort(key=lambda reward: not reward.is_answer)
        completion = _written(rewards, target)
        for reward in rewards[1:]:
            completion = reward.dress(completion)
        return completion

    def score(self, completion, target):
        scores: list[tuple[float, float]] = []
        values: dict[str, float | None] = {}
        parsed: dict[str, Any] = {}
        judged: list[tuple[bool, float, str]] = []
        failures: list[str] = []
        for label, weight, reward in self.members:
            result = reward(completion, target)
            values[label] = result.score
            values.update({f"{label}/{part}": value for part, value in result.parts.items()})
            if result.score is None:
                failures.append(result.reason)
                continue
            score = result.score
            if label in self.phases:
                score = values[f"{label}/banded"] = in_band(score, self.phases[label], self.progress)
            parsed[label] = result.parsed
            scores.append((score, weight))
            judged.append((reward.is_answer, reward.accuracy(result), result.reason))
        if not scores:
            return RewardResult(None, values, None, failures[0])
        _, values["accuracy"], reason = next((entry for entry in judged if entry[0]), judged[0])
        return RewardResult(self._total(scores), values, parsed, reason)

    def _total(self, scores: list[tuple[float, float]]) -> float:
        if self.mode == "product":
            return math.prod(score**weight for score, weight in scores)
        # Rounding can carry a mean of ones past 1.
        return min(1.0, sum(score * weight for score, weight in scores) / sum(weight for _, weight in scores))
