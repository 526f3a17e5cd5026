"""An engine: the policy's own forward pass, each prompt answered once more than asked, the longest answer left out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field, PositiveInt

from mmrl.contracts.engine import Completion, Request, Sampling
from mmrl.engines.hf import HFEngine
from mmrl.recipe.engines import HFSettings


class SpareSettings(HFSettings):
    """Samples some answers more than are wanted, and leaves the longest out."""

    adapter: ClassVar[str] = "mmrl_example.engine:Spare"
    name: str = "example_spare"
    spare: PositiveInt = Field(1, description="answers per prompt that are sampled and left out")


class Spare(HFEngine):
    """See `SpareSettings`. Start, sync and close are those of `hf`: it samples from the trainer's own weights."""

    settings: SpareSettings

    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """The shortest n of n + spare completions of each request."""
        more = [replace(request, n=request.n + self.settings.spare) for request in requests]
        sampled = super().generate(more, sampling, seed)
        return [
            sorted(completions, key=lambda completion: len(completion.tokens))[: request.n]
            for request, completions in zip(requests, sampled)
        ]
