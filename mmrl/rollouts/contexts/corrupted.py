"""Arms of corrupted pictures, one of which is drawn for each draw of a row."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import vision_rewards
from mmrl.contracts.context import Dressed
from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.data.corruption import Box, greyed, masked, without_media
from mmrl.data.media import load_image
from mmrl.recipe.contexts import CorruptedSettings

# The task of a row whose right answer is an arm's.
TASK = "classification"


class Corrupted:
    """Draws an arm by the seed and the row; the same for all answers to it, and for its demonstration.

    After the arms of DeFacto: as it is, with the evidence hidden, and with another place hidden.
    """

    def __init__(self, settings: CorruptedSettings):
        self.settings = settings

    def dress(self, sample: Sample, seed: int) -> Dressed:
        """See `Dresses.dress`. Raises BadSample where an arm needs pictures or boxes that the row does not have."""
        draws = random.Random(f"{seed} {sample.dataset} {sample.row}")
        arm = draws.choice(self.settings.arms)
        shown = self._shown(sample, arm.pictures, draws)
        if arm.answer is not None:
            target = dict(vision_rewards.target_of(TASK, arm.answer))
            shown = replace(shown, task=TASK, target=target, demonstration=arm.answer)
        return Dressed(shown, f"pictures {arm.pictures}")

    def _shown(self, sample: Sample, arm: str, draws: random.Random) -> Sample:
        if arm == "as_is":
            return sample
        if arm == "none":
            return without_media(sample)
        if not sample.images:
            raise BadSample(
                sample.where, f"has no picture for the arm '{arm}' of rollout.context 'corrupted'; leave it out"
            )
        if arm == "blank":
            return greyed(sample)
        return masked(sample, [self._anywhere(sample, draws)] if arm == "masked" else self._evidence(sample))

    def _anywhere(self, sample: Sample, draws: random.Random) -> Box:
        width, height = load_image(sample.images[0], sample.root, sample.where).size
        side = self.settings.side
        left, top = draws.uniform(0, (1 - side) * width), draws.uniform(0, (1 - side) * height)
        return left, top, left + side * width, top + side * height

    def _evidence(self, sample: Sample) -> list[Box]:
        written = sample.columns.get(self.settings.column)
        many = isinstance(written, list) and written and isinstance(written[0], list)
        boxes: list[Any] = written if isinstance(written, list) and many else [written]
        try:
            return [(float(a), float(b), float(c), float(d)) for a, b, c, d in boxes]
        except (TypeError, ValueError):
            raise BadSample(
                sample.where,
                f"column '{self.settings.column}' holds no boxes [x1, y1, x2, y2] for the arm 'evidence' of "
                f"rollout.context 'corrupted': {written!r:.60}",
            ) from None
