"""An engine whose requests are dealt to all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmrl.contracts.engine import Completion, Engine, Request, Sampling, SyncReport, own_seed
from mmrl.contracts.policy import Policy
from mmrl.contracts.world import World
from mmrl.parallel.dealing import deal


class DealtEngine:
    """Any engine of one process, of which each process has one. See `Engine`.

    Each samples its deal of the requests, n completions of a prompt together, and every process gets all of them. A
    request draws from a seed that no other has a part in, so it does not matter who samples it.
    """

    def __init__(self, engine: Engine, world: World):
        self.engine, self.world = engine, world

    def start(self, policy: Policy, world: World) -> None:
        """See `Engine.start`."""
        self.engine.start(policy, world)

    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """See `Engine.generate`. Raises in every process what it raises in one."""
        seeded = [replace(r, seed=own_seed(seed, i)) if r.seed is None else r for i, r in enumerate(requests)]
        shares = self._shares(seeded, sampling.max_new_tokens)
        sampled = self.world.each(
            "sampling",
            shares,
            lambda share: self.engine.generate([seeded[i] for i in share], sampling, seed),
            lambda share: 1.0,
        )
        completions: list[list[Completion]] = [[] for _ in requests]
        for share, results in zip(shares, sampled, strict=True):
            for i, result in zip(share, results, strict=True):
                completions[i] = result
        return completions

    def _shares(self, requests: Sequence[Request], limit: int) -> list[list[int]]:
        """The requests of each process: together they are sampled in one call."""
        owners = deal([request.prompt.length + request.n * limit for request in requests], self.world.size)
        return [[i for i, owner in enumerate(owners) if owner == rank] for rank in range(self.world.size)]

    def sync(self, policy: Policy, version: int) -> SyncReport:
        """See `Engine.sync`."""
        return self.engine.sync(policy, version)

    def close(self) -> None:
        """See `Engine.close`."""
        self.engine.close()
