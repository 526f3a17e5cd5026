"""The reference, or the beginning of it, behind the question while answers are sampled."""

from __future__ import annotations

import math

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.recipe.contexts import InstructionSettings, ReferenceSettings
from mmrl.rollouts.contexts.instruction import Instruction


class Reference:
    """A hint from the row's own demonstration: all of it, or its first words."""

    def __init__(self, settings: ReferenceSettings):
        self.settings = settings

    def shown(self, sample: Sample) -> Sample:
        """The sample with the reference behind its last user message. Raises BadSample where it has none."""
        if sample.demonstration is None:
            raise BadSample(
                sample.where,
                "has no demonstration, and rollout.context 'reference' shows it; add them, or leave it out",
            )
        words = sample.demonstration.split(" ")
        shown = " ".join(words[: math.ceil(self.settings.parts[0] * len(words))])
        text = self.settings.text.replace("{reference}", shown)
        return Instruction(InstructionSettings(text=text)).shown(sample)
