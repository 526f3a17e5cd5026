"""Answers that continue units which nobody sampled: a part of the demonstration, or a text of one's own."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from mmrl.contracts.context import Beginning
from mmrl.contracts.errors import BadSample
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Sample
from mmrl.recipe.contexts import PrefillSettings, PrefixSettings


class DemonstrationPrefix:
    """The first units of the row's demonstration, see `PrefixSettings`."""

    def __init__(self, settings: PrefixSettings):
        self.settings = settings

    def shortest(self, progress: float) -> float:
        """The lower bound of the share: a cosine from `low` to `low_end`."""
        own = self.settings
        return own.low_end + (own.low - own.low_end) * 0.5 * (1 + math.cos(math.pi * progress))

    def begin(self, sample: Sample, policy: Policy, limit: int, progress: float, seed: int) -> Beginning:
        """See `Begins.begin`. At least one unit is left to sample, and the end is never given."""
        if sample.demonstration is None:
            raise BadSample(
                sample.where,
                "has no demonstration, and rollout.context 'prefix' continues it; add them, or leave it out",
            )
        units = policy.demonstration(sample, limit)[:-1]
        share = random.Random(f"{seed} {sample.dataset} {sample.row}").uniform(
            self.shortest(progress), self.settings.high
        )
        return Beginning(units[: min(round(share * len(units)), limit - 1)], self.settings.learned)


class Prefill:
    """A text of the recipe's or the row's, see `PrefillSettings`."""

    def __init__(self, settings: PrefillSettings):
        self.settings = settings

    def begin(self, sample: Sample, policy: Policy, limit: int, progress: float, seed: int) -> Beginning:
        """See `Begins.begin`."""
        text = self.settings.text
        if self.settings.column is not None:
            text = sample.columns.get(self.settings.column)
            if text is not None and not isinstance(text, str):
                raise BadSample(sample.where, f"column '{self.settings.column}' holds {type(text).__name__}, not text")
            if self.settings.column not in sample.columns:
                raise BadSample(
                    sample.where,
                    f"has no column '{self.settings.column}', which rollout.context 'prefill' begins answers with",
                )
        units = policy.demonstration(replace(sample, demonstration=text or " "), limit)[:-1]
        return Beginning(units if text else units[:0])
