"""Text that repeats itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import MAX_COMPLETION, split_pieces
from vision_rewards.types import Reward, RewardResult, param


@dataclass(frozen=True, kw_only=True)
class Repetition(Reward):
    """1 for text that does not repeat itself, towards 0 for loops."""

    name = "repetition"
    summary = "Share of distinct n-grams of the whole completion; says nothing about the answer."
    target_keys: ClassVar = {}
    formula = (
        "q = distinct n-grams / all n-grams of the words and marks in lower case, n at most half their number; "
        "score = min(1, q / (1 − allowed))"
    )
    source = "the n-gram repetition penalties of TRL and VLM-R1 (Yeo et al. 2025), as a score in [0, 1]"
    closes = (
        "runs without blanks, marks and ideographs repeat as words do",
        "a short completion is measured with shorter n-grams: `yes yes yes` does not pass as too short",
        "an empty completion scores 0",
    )
    part_defaults: ClassVar = {"distinct": 0.0}
    is_answer = False
    examples: ClassVar = (
        ({}, "The cat sits on the mat, and the dog looks at it.", "no run of words comes twice"),
        ({}, "The cat sits. " * 20, "one sentence twenty times: 4 distinct runs of 6 among 75"),
        ({}, "ha" * 500, "no blank between the repetitions"),
        ({}, "", "empty"),
    )

    n: int = param(6, "words per n-gram", low=1, high=50)
    allowed: float = param(0.2, "share of repeated n-grams that costs nothing", low=0, high=0.9)

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.n, int):
            raise ValueError(f"reward 'repetition': parameter 'n': {self.n!r} is not a whole number")

    def check_target(self, target):
        return

    def gold(self, target):
        return "answer"

    def score(self, completion, target):
        if len(completion) > MAX_COMPLETION:
            return self.failed("too_long")
        pieces = split_pieces(completion.lower())
        if not pieces:
            return self.failed("no_answer")
        distinct = _distinct_share(pieces, min(self.n, (len(pieces) + 1) // 2))
        # Rounding of 1 − allowed must not carry a score past 1.
        return RewardResult(min(1.0, distinct / (1.0 - self.allowed)), {"distinct": distinct}, None, "ok")


def _distinct_share(pieces: list[str], n: int) -> float:
    import numpy as np

    numbers: dict[str, int] = {}
    ids_T = np.fromiter((numbers.setdefault(piece, len(numbers)) for piece in pieces), np.int64, len(pieces))
    runs_N = _number_runs(ids_T, n)
    return (int(runs_N.max()) + 1) / len(runs_N)


def _number_runs(ids_T, n: int):
    """Number each run of n ids, equal runs alike, from 0 without gaps: int64 [T − n + 1], by halving n."""
    import numpy as np

    def pair(first, second):
        # Both are numbers below T ≤ 1e6, so that the product fits; exact, unlike a hash.
        return np.unique(first * (int(second.max()) + 1) + second, return_inverse=True)[1]

    if n == 1:
        return ids_T
    half = _number_runs(ids_T, n // 2)
    runs = pair(half[: -(n // 2)], half[n // 2 :])
    return runs if n % 2 == 0 else pair(runs[:-1], ids_T[n - 1 :])
