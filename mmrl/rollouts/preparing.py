"""Samples to prepared prompts, once, with every bad sample named before a model call is spent on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.rollouts.rewarding import Rewarder


class Preparer:
    """Prepares samples for one policy and checks that their rewards can read them.

    It serves as a mixture's `check`: a sample that cannot be prepared is bad before it is handed out, and what was
    prepared then is not prepared again.
    """

    def __init__(self, policy: Any, rewarder: Rewarder):
        self.policy, self.rewarder = policy, rewarder
        # Keyed by the object, not its id: two datasets may name a row alike. The sample is kept so that its address is.
        self._ready: dict[int, tuple[Sample, tuple[Sample, Any]]] = {}

    def check(self, sample: Sample, rewarded: bool = True) -> None:
        """Raises BadSample: unreadable media, prompt over the limit, or a target that its reward cannot read.

        Args:
            rewarded: False for demonstrations, which no reward has to read.
        """
        if rewarded and (sample.actions is not None or sample.steps):
            raise BadSample(
                sample.where, "is a demonstration of actions, which nothing rewards; give its dataset to SFT"
            )
        self._ready[id(sample)] = (sample, self.make(sample, rewarded))

    def take(self, sample: Sample) -> tuple[Sample, Any]:
        """(sample in the policy's coordinates, its prompt).

        Episodes have no prompt before they are played, and recorded ones a tuple of one for each of their steps.
        """
        ready = self._ready.pop(id(sample), None)
        return ready[1] if ready is not None else self.make(sample)

    def make(self, sample: Sample, rewarded: bool = True) -> tuple[Sample, Any]:
        """Prepares one sample afresh."""
        if sample.simulator is not None:
            return sample, None
        if sample.steps:
            steps = tuple(sample.steps)
            return replace(sample, steps=steps), tuple(self.policy.prepare(steps))
        prompt = self.policy.prepare([sample])[0]
        local = self.policy.localise(sample, prompt)
        if rewarded and sample.actions is None:
            self.rewarder.check(local)
        return local, prompt
