"""Arms: a benchmark asked with something taken away or changed, to see what its figure rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.data.corruption import greyed, without_media
from mmrl.data.rows import Rows
from mmrl.evaluation.suite.text_arms import misleading_caption, options_permuted, wrong_reasoning

# The share of a video's frames that `frames_dropped` takes away.
DROPPED = 0.5

Arm = Callable[[Sequence[Sample], int], Sample]


def text_only(rows: Sequence[Sample], row: int) -> Sample:
    """The question without its pictures and videos: which rows does a model answer blind?"""
    return without_media(rows[row])


def blank(rows: Sequence[Sample], row: int) -> Sample:
    """Every picture grey, of its own size."""
    return greyed(rows[row])


def swapped(rows: Sequence[Sample], row: int) -> Sample:
    """The pictures and videos of the next row that has as many, and others."""
    sample = rows[row]
    for step in range(1, len(rows)):
        other = rows[(row + step) % len(rows)]
        alike = (len(other.images), len(other.videos)) == (len(sample.images), len(sample.videos))
        if alike and (other.images, other.videos) != (sample.images, sample.videos) and other.root == sample.root:
            return replace(sample, images=other.images, videos=other.videos)
    return sample


def frames_shuffled(rows: Sequence[Sample], row: int) -> Sample:
    """The frames of every video in an order of chance."""
    return _with_video(rows[row], {"shuffle": True})


def frames_dropped(rows: Sequence[Sample], row: int) -> Sample:
    """Every video without half of its frames."""
    return _with_video(rows[row], {"drop": DROPPED})


def _with_video(sample: Sample, settings: Mapping[str, Any]) -> Sample:
    if not sample.videos:
        return sample
    budgets = {**sample.budgets, "video": {**sample.budgets.get("video", {}), **settings}}
    return replace(sample, budgets=budgets)


# Name, as `mmrl.recipe.suite.ARMS` has it -> what it makes of a row.
ARMS: Mapping[str, Arm] = {
    "text_only": text_only,
    "blank": blank,
    "swapped": swapped,
    "frames_shuffled": frames_shuffled,
    "frames_dropped": frames_dropped,
    "options_permuted": options_permuted,
    "misleading_caption": misleading_caption,
    "wrong_reasoning": wrong_reasoning,
}
# Those that change words, and so leave the first row as it is where there is nothing to change.
OF_WORDS = {
    "options_permuted": "the order of options",
    "misleading_caption": "what is said of a wrong answer",
    "wrong_reasoning": "what is said of a wrong answer",
}


class ArmRows(Rows):
    """The first rows of a benchmark under an arm.

    Raises:
        UserError: it would leave every one of them as it is.
    """

    def __init__(self, name: str, rows: Sequence[Sample], arm: str, count: int):
        self._rows, self._arm, self._count = rows, ARMS[arm], count
        first = rows[0]
        if arm in OF_WORDS:
            if self._arm(rows, 0) == first:
                raise UserError(f"benchmark '{name}': arm '{arm}' changes {OF_WORDS[arm]}, and its first row has none")
            return
        media = "videos" if arm.startswith("frames") else "pictures" if arm == "blank" else "pictures or videos"
        shown = {"videos": first.videos, "pictures": first.images}.get(media, (*first.images, *first.videos))
        if not shown:
            raise UserError(f"benchmark '{name}': arm '{arm}' changes {media}, and its first row has none")

    def __len__(self) -> int:
        return self._count

    def _row(self, row: int) -> Sample:
        return self._arm(self._rows, row)
