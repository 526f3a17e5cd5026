"""Episodes as a source: samples are start states, which simulators play and reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from mmrl.contracts.errors import BadSample
from mmrl.contracts.policy import Policy, acting
from mmrl.contracts.source import Means, Ready, Scorer, Terms
from mmrl.contracts.types import Group, Sample
from mmrl.rollouts.episodes import demonstrate_episodes, play
from mmrl.rollouts.relabelling import relabelled_episodes


class EpisodeSource:
    """Plays what a sample's simulator starts; the scripted expert demonstrates.

    See `Source`.
    """

    rewarded: ClassVar[bool] = False
    recorded: ClassVar[bool] = False

    def __init__(self, means: Means):
        self.means = means

    @staticmethod
    def prepare(sample: Sample, policy: Policy, rewarder: Scorer, rewarded: bool) -> Ready:
        """The sample as it is: its observations are prepared while it is played."""
        return Ready(sample)

    @staticmethod
    def again(group: Group) -> Ready:
        """See `Source.again`."""
        return Ready(group.sample)

    def plan(self, ready: Sequence[Ready], terms: Terms) -> list[Group]:
        """See `Source.plan`, `play`."""
        policy, engine, simulators = acting(self.means.policy), self.means.engine, self.means.simulators

        def played(samples: Sequence[Sample]) -> list[Group]:
            sampling, chunk = terms.sampling, terms.chunk
            kept = {"bootstrap": terms.bootstrap, "record": terms.recorded}
            return play(policy, engine, simulators, samples, sampling, terms.n, chunk, terms.seed, **kept)

        return _by_simulator(ready, played)

    def demonstrate(self, ready: Sequence[Ready], terms: Terms, scored: bool) -> list[Group | BadSample]:
        """See `Source.demonstrate`, `demonstrate_episodes`, `relabelled_episodes`; the simulator scores all of them."""
        policy, engine, simulators = acting(self.means.policy), self.means.engine, self.means.simulators

        def shown(samples: Sequence[Sample]) -> list[Group]:
            if terms.labels is None:
                return demonstrate_episodes(policy, simulators, samples, terms.chunk, terms.bootstrap)
            return relabelled_episodes(policy, engine, simulators, samples, terms.sampling, terms.labels, terms.seed)

        return [*_by_simulator(ready, shown)]


def _by_simulator(ready: Sequence[Ready], act: Callable[[Sequence[Sample]], list[Group]]) -> list[Group]:
    """What `act` makes of the samples of each simulator, in the samples' order."""
    indices: dict[str, list[int]] = {}
    for i, item in enumerate(ready):
        indices.setdefault(str(item.sample.simulator), []).append(i)
    groups: dict[int, Group] = {}
    for members in indices.values():
        groups.update(zip(members, act([ready[i].sample for i in members]), strict=True))
    return [groups[i] for i in range(len(ready))]
