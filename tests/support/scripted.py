"""A policy and an engine whose answers are written down beforehand."""

from collections.abc import Sequence

import torch

from mmrl.contracts.engine import Completion
from mmrl.contracts.types import StopReason


class Scripted:
    """A policy that takes samples as they are, and an engine that gives the i-th prompt of a call the i-th texts."""

    def __init__(self, *texts: Sequence[str]):
        self.texts = texts

    def prepare(self, samples):
        """The samples' ids as prompts."""
        return [sample.id for sample in samples]

    def localise(self, sample, prompt):
        """The sample as it is."""
        return sample

    def generate(self, requests, sampling, seed):
        """The first n texts of each prompt."""
        unit, log_prob = torch.zeros(1, dtype=torch.long), torch.zeros(1)
        return [
            [Completion(unit, log_prob, StopReason.END, text=text) for text in texts[: request.n]]
            for request, texts in zip(requests, self.texts)
        ]
