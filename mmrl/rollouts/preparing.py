"""Samples made ready for their source, once, with every bad sample named before a model call is spent on it."""

from __future__ import annotations

from collections.abc import Callable

from mmrl.contracts.errors import BadSample
from mmrl.contracts.policy import Policy
from mmrl.contracts.source import Ready
from mmrl.contracts.types import Sample
from mmrl.policies.boxes import agrees
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.sources import SOURCES


class Preparer:
    """Prepares samples for one policy and checks that their rewards can read them.

    It serves as a mixture's `check`: a sample that cannot be prepared is bad before it is handed out, and what was
    prepared then is not prepared again.

    Attributes:
        tell: is given a line about the first demonstration that names another box or point than its target.
    """

    def __init__(self, policy: Policy, rewarder: Rewarder):
        self.policy, self.rewarder = policy, rewarder
        # Keyed by the object, not its id: two datasets may name a row alike. The sample is kept so that its address is.
        self._ready: dict[int, tuple[Sample, Ready]] = {}
        self.tell: Callable[[str], object] | None = None
        self._told = False

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

    def take(self, sample: Sample) -> Ready:
        """The sample made ready, by `check` where that has seen it."""
        known = self._ready.pop(id(sample), None)
        return known[1] if known is not None else self.make(sample)

    def make(self, sample: Sample, rewarded: bool = True) -> Ready:
        """Prepares one sample afresh."""
        ready = SOURCES.get(sample.kind).prepare(sample, self.policy, self.rewarder, rewarded)
        if not self._told and self.tell is not None and not agrees(ready.sample):
            self._told = True
            self.tell(
                f"{sample.where}: its demonstration names another box or point than its target; data/other_places is "
                "the share of such demonstrations in each step"
            )
        return ready
