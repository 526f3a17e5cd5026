"""A policy: a Qwen-VL that is greeted by a system prompt of its own."""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from mmrl.contracts.types import Prompt, Sample
from mmrl.policies.qwen_vl.policy import QwenVL
from mmrl.recipe.policies.qwen_vl import QwenVLSettings
from mmrl.recipe.policies.registry import POLICIES


class ToldSettings(QwenVLSettings):
    """A Qwen-VL with a system prompt in front of every conversation."""

    type: str = "example_told"
    told: str = Field("Answer briefly.", description="the system prompt")


class Told(QwenVL):
    """Puts the system prompt in front of the messages of samples that have none."""

    def prepare(self, samples: Sequence[Sample]) -> list[Prompt]:
        """See `TokenPolicy.prepare`."""
        return super().prepare([self._told(sample) for sample in samples])

    def _told(self, sample: Sample) -> Sample:
        if any(message["role"] == "system" for message in sample.messages):
            return sample
        system = {"role": "system", "content": [{"type": "text", "text": self.config.told}]}
        return replace(sample, messages=(system, *sample.messages))


# What it learns from and which parts it has are a Qwen-VL's.
TOLD = replace(POLICIES.get("qwen_vl"), adapter="mmrl_example.policy:Told", settings="mmrl_example.policy:ToldSettings")
