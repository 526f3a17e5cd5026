"""An instruction behind the question while answers are sampled."""

from __future__ import annotations

from dataclasses import replace

from mmrl.contracts.types import Sample
from mmrl.recipe.contexts import InstructionSettings


class Instruction:
    """Context distillation: the policy learns to answer without the instruction as it does with it.

    Source: Snell, Klein, Zhong, "Learning by distilling context", arXiv 2209.15189.
    """

    def __init__(self, settings: InstructionSettings):
        self.text = settings.text

    def shown(self, sample: Sample) -> Sample:
        """The sample with the text behind its last user message."""
        last = max(i for i, message in enumerate(sample.messages) if message["role"] == "user")
        message = sample.messages[last]
        extended = {**message, "content": [*message["content"], {"type": "text", "text": self.text}]}
        return replace(sample, messages=(*sample.messages[:last], extended, *sample.messages[last + 1 :]))
