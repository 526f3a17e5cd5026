"""An engine whose completions are looked at before anybody makes a figure of them."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.contracts.engine import Completion, Engine, Request, Sampling, SyncReport
from mmrl.contracts.policy import Policy
from mmrl.contracts.world import World
from mmrl.policies.alive import refuse_dead


class WatchedEngine:
    """Any engine. What it samples is checked once per call, where it has arrived, so that no step of it waits.

    See `Engine`. `generate` also raises DeadPolicy: log-probs, or units that are numbers, are not finite.
    """

    def __init__(self, engine: Engine):
        self.engine = engine

    def start(self, policy: Policy, world: World) -> None:
        """See `Engine.start`."""
        self.engine.start(policy, world)

    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """See `Engine.generate`. Raises DeadPolicy."""
        completions = self.engine.generate(requests, sampling, seed)
        units = [completion for group in completions for completion in group]
        refuse_dead("log-probs of what was sampled", (completion.log_probs for completion in units))
        refuse_dead("actions that were sampled", (completion.tokens for completion in units))
        return completions

    def sync(self, policy: Policy, version: int) -> SyncReport:
        """See `Engine.sync`."""
        return self.engine.sync(policy, version)

    def close(self) -> None:
        """See `Engine.close`."""
        self.engine.close()
