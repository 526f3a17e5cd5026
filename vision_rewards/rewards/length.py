"""How long a completion is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vision_rewards.parsers import MAX_COMPLETION, split_pieces
from vision_rewards.registry import get_reward
from vision_rewards.types import Reward, RewardResult, TargetError, param


@dataclass(frozen=True, kw_only=True)
class Length(Reward):
    """Full score up to a length, less beyond it."""

    name = "length"
    summary = "Length of the whole completion; with `cosine`, of a completion whose answer another reward judges."
    target_keys: ClassVar = {}
    formula = (
        "L: words and marks, or characters; t = (L − low) / (high − low) clipped to [0, 1]. overlong: 1 − t; "
        "brevity: min(1, low / L); cosine: a · (floor + (1 − floor) c) + (1 − a) · wrong · (1 − c), a the accuracy of "
        "the reward `of`, c = (1 + cos πt) / 2"
    )
    source = (
        "overlong: DAPO's soft overlong punishment (Yu et al. 2025), moved from [−1, 0] to [0, 1]; "
        "cosine: Yeo et al. 2025, moved to [0, 1]"
    )
    closes = (
        "an empty completion scores 0, although nothing is shorter",
        "`cosine` demands the reward that judges the answer: a wrong answer cannot earn the curve of a right one",
        "a long run without blanks counts as a word per 16 characters; runs of blanks do not count as characters",
    )
    part_defaults: ClassVar = {"length": 0.0, "accuracy": None}
    is_answer = False
    examples: ClassVar = (
        ({}, "word " * 100, "no longer than `low`", {"kind": "overlong", "low": 100, "high": 200}),
        ({}, "word " * 150, "half way from `low` to `high`", {"kind": "overlong", "low": 100, "high": 200}),
        ({}, "word " * 400, "4 times `low`", {"kind": "brevity", "low": 100, "high": 200}),
        ({}, "", "empty"),
        ({"count": 3}, "word " * 50 + "4", "a wrong answer, short", {"kind": "cosine", "of": "counting"}),
    )

    kind: str = param("overlong", "which curve", choices=("overlong", "brevity", "cosine"))
    low: float = param(512, "length up to which the score is full", low=1)
    high: float = param(1024, "length from which the score is lowest (`overlong`, `cosine`)", low=1)
    unit: str = param("words", "what is counted; tokens are the trainer's to count", choices=("words", "characters"))
    of: str | tuple | None = param(
        None, "`cosine`: the reward that judges the answer: a name, [name, parameters] or a reward"
    )
    floor: float = param(0.5, "`cosine`: score of a right answer of length `high`", low=0, high=1)
    wrong: float = param(0.0, "`cosine`: score of a wrong answer of length `high`; at most `floor`", low=0, high=1)
    judge: Reward | None = dataclasses.field(init=False, repr=False)

    def __post_init__(self):
        super().__post_init__()
        place = "reward 'length': parameter"
        if self.high <= self.low:
            raise ValueError(f"{place} 'high': {self.high!r} is not above low={self.low!r}")
        if (self.of is not None) != (self.kind == "cosine"):
            raise ValueError(f"{place} 'of': kind='cosine' needs the reward that judges the answer, other kinds none")
        if self.wrong > self.floor:
            raise ValueError(f"{place} 'wrong': {self.wrong!r} would pay a wrong answer more than floor={self.floor!r}")
        object.__setattr__(self, "judge", None if self.of is None else _reward(self.of))

    @property
    def waits(self):
        return self.judge is not None and self.judge.waits

    def applies(self, target):
        return self.judge is None or self.judge.applies(target)

    def readers(self, task):
        return [] if self.judge is None else self.judge.readers(task)

    def for_task(self, task):
        return self if self.judge is None else dataclasses.replace(self, of=self.judge.for_task(task))

    @property
    def tightens(self):
        return self.judge is not None and self.judge.tightens

    def at(self, progress):
        return self if self.judge is None else dataclasses.replace(self, of=self.judge.at(progress))

    def check_target(self, target):
        if self.judge is None:
            return
        self.judge.check(target)
        if self.judge.proves(target) and self._measure(self.judge.gold(target)) > self.low:
            raise TargetError(f"the right answer alone is longer than low={self.low} {self.unit}")

    def proves(self, target):
        return self.judge is None or self.judge.proves(target)

    def gold(self, target):
        return "answer" if self.judge is None else self.judge.gold(target)

    def _measure(self, text: str) -> int:
        return len(split_pieces(text)) if self.unit == "words" else len(" ".join(text.split()))

    def score(self, completion, target):
        if not completion.strip() or len(completion) > MAX_COMPLETION:
            return self.failed("no_answer" if not completion.strip() else "too_long")
        length = self._measure(completion)
        progress = min(1.0, max(0.0, (length - self.low) / (self.high - self.low)))
        accuracy, reason = None, "ok"
        if self.kind == "overlong":
            score = 1.0 - progress
        elif self.kind == "brevity":
            score = min(1.0, self.low / max(length, 1))
        else:
            result = self.judge(completion, target)
            accuracy, reason = self.judge.accuracy(result), result.reason
            fall = (1.0 + math.cos(math.pi * progress)) / 2.0
            right = self.floor + (1.0 - self.floor) * fall
            score = accuracy * right + (1.0 - accuracy) * self.wrong * (1.0 - fall)
        return RewardResult(score, {"length": float(length), "accuracy": accuracy}, None, reason)


def _reward(of: Any) -> Reward:
    if isinstance(of, Reward):
        return of
    name, params = (of, {}) if isinstance(of, str) else of if isinstance(of, (list, tuple)) and len(of) == 2 else (0, 0)
    if not isinstance(name, str) or not isinstance(params, Mapping):
        raise ValueError(f"reward 'length': parameter 'of': {of!r} is not a name or [name, parameters]")
    return get_reward(name, **params)
