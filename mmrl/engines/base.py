"""What the engines that sample from the training weights themselves have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

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


def alike(requests: Sequence[Request]) -> list[list[int]]:
    """Which requests may be sampled together: they want equally many from one token set, and all have seeds or none."""
    groups: dict[tuple[int, str | None, bool], list[int]] = {}
    for i, request in enumerate(requests):
        groups.setdefault((request.n, request.restrict, request.seed is not None), []).append(i)
    return list(groups.values())


def batches(indices: Sequence[int], n: int, rows: int) -> list[Sequence[int]]:
    """The requests, n rows each, in batches of at most `rows` rows, or of one request that has more."""
    size = max(1, rows // n)
    return [indices[start : start + size] for start in range(0, len(indices), size)]
