"""What the engines that sample from the training weights themselves have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import torch

from mmrl.contracts.engine import Request, SyncReport
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Span
from mmrl.contracts.world import World
from mmrl.recipe.engines import BatchedSettings

Sampled = TypeVar("Sampled", bound=Policy)


class InProcess(ABC, Generic[Sampled]):
    """An engine whose weights are the trainer's: there is nothing to hand over."""

    def __init__(self, settings: BatchedSettings):
        self.settings, self.version = settings, 0
        self._policy: Sampled | None = None

    @property
    def policy(self) -> Sampled:
        """The policy that is sampled. Raises RuntimeError before `start` and after `close`."""
        if self._policy is None:
            raise RuntimeError(f"engine '{self.settings.name}' is not started, or was closed")
        return self._policy

    @abstractmethod
    def as_sampled(self, policy: Policy) -> Sampled:
        """The policy as one that this engine can sample. Raises ConfigError where it cannot."""

    def refusal(self, policy: Policy) -> ConfigError:
        """What says that it cannot."""
        return ConfigError(f"engine '{self.settings.name}' does not sample policy.type '{policy.config.type}'")

    def start(self, policy: Policy, world: World) -> None:
        """See `Engine.start`."""
        self._policy, self.version = self.as_sampled(policy), 0

    def sync(self, policy: Policy, version: int) -> SyncReport:
        """Notes the version; the weights are the policy's own."""
        self._policy, self.version = self.as_sampled(policy), version
        return SyncReport(version)

    def close(self) -> None:
        """See `Engine.close`."""
        self._policy = None

    def spans(self, prefix: int, units: int) -> tuple[Span, ...]:
        """`Completion.versions` of a completion of `units` units, the first of which were given."""
        return (Span(self.version, prefix, units),) if units > prefix else ()

    def refuse_prefixes(self, requests: Sequence[Request]) -> None:
        """Raises ConfigError where a request has a prefix, for engines whose units are not drawn one by one."""
        if any(request.prefix is not None for request in requests):
            raise ConfigError(f"engine '{self.settings.name}' samples whole decisions, and continues no prefix")


def batch_requests(
    requests: Sequence[Request], seed: int, rows: int, device: torch.device | str, apart: bool = True
) -> Iterator[tuple[list[int], torch.Generator]]:
    """Which requests are sampled together, at most `rows` rows unless one request has more, and from what generator.

    Those of one batch want equally many completions from one token set. A request with a seed of its own is alone in
    its batch, or without `apart` beside others with seeds; those without share a generator of `seed`, batch after
    batch.
    """
    shared = torch.Generator(device=device).manual_seed(seed)
    alike: dict[tuple[int, str | None, int | None], list[int]] = {}
    for i, request in enumerate(requests):
        own = None if request.seed is None else i if apart else 0
        alike.setdefault((request.n, request.restrict, own), []).append(i)
    for (n, _, alone), indices in alike.items():
        alone_seed = None if alone is None else requests[indices[0]].seed
        generator = shared if alone_seed is None else torch.Generator(device=device).manual_seed(alone_seed)
        size = max(1, rows // n)
        for start in range(0, len(indices), size):
            yield indices[start : start + size], generator
