"""The contract of engines: what samples from a policy, for rollouts and evaluation alike, as long as a run lives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Decision, Prompt, Span, StopReason
from mmrl.contracts.world import World

if TYPE_CHECKING:
    from torch import Tensor


class Sampling(Protocol):
    """How completions are sampled: the settings that a recipe gives."""

    @property
    def temperature(self) -> float:
        """0 is greedy."""

    @property
    def top_p(self) -> float:
        """Share of the probability that the likeliest tokens must reach; 1 keeps every token."""

    @property
    def top_k(self) -> int:
        """How many of the likeliest tokens are kept; 0 keeps every token."""

    @property
    def min_p(self) -> float:
        """Least probability, as a share of the likeliest token's."""

    @property
    def max_new_tokens(self) -> int:
        """Most units of a completion, those of a prefix included."""

    @property
    def stop(self) -> Sequence[str]:
        """Text that ends a completion, besides the end token."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to be sampled from.

    Attributes:
        prompt: as the policy prepared it.
        n: completions wanted.
        restrict: name of a token set of the policy (`action`), or None. Restricted completions have no end token: they
            run to the limit of units.
        prefix: int64 [K], units with which each of the n completions begins: they are continued, not resampled. They
            count towards the limit of units and hold no end.
        seed: of this request's sampling alone, so that what is sampled does not depend on the requests beside it; None:
            the seed of the call.
    """

    prompt: Prompt
    n: int = 1
    restrict: str | None = None
    prefix: Tensor | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled decision.

    Attributes:
        tokens: int64 [U], prefix and end token included; see `Decision.tokens`.
        log_probs: float32 [U] at `temperature`, top-k, top-p and min-p not applied; exactly 0 on the `given` units.
            None where they are of another prompt than the decision's (a context).
        stop: what ended it.
        temperature: softmax temperature of the log-probs; 1 of a greedy completion.
        versions: the weights that sampled it, as spans of its units in order; nothing sampled those that it was given.
        given: leading units that came from the request's prefix.
        text: what it says, where that is not what its tokens decode to.
        context: see `Decision.context`.
        learned: see `Decision.learned`; None: all but those given.
        old: see `Decision.old`.
        prompt_tokens: of the prompt, as who sampled it counted them; None: its own length says.
        failed: why this request alone was refused, with no units and no text; None: it was not.
    """

    tokens: Tensor
    log_probs: Tensor | None
    stop: StopReason
    temperature: float = 1.0
    versions: tuple[Span, ...] = ()
    given: int = 0
    text: str | None = None
    context: Any = None
    learned: Tensor | None = None
    old: Tensor | None = None
    prompt_tokens: int | None = None
    failed: str | None = None

    @property
    def truncated(self) -> bool:
        """Whether a limit cut it off."""
        return self.stop.is_cut

    def decision(self, prompt: Prompt, restrict: str | None = None) -> Decision:
        """The decision for `prompt` that this completion is."""
        return Decision(
            prompt,
            self.tokens,
            self.log_probs,
            restrict=restrict,
            context=self.context,
            temperature=self.temperature,
            versions=self.versions,
            given=self.given,
            learned=self.learned,
            old=self.old,
        )


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What handing the weights to an engine took.

    Attributes:
        version: of the weights that the engine now samples with.
        tensors: handed over; 0 where the engine samples from the trainer's own.
        bytes: of these tensors.
        seconds: of wall-clock time.
        figures: what proving it measured, as documented metrics.
    """

    version: int
    tensors: int = 0
    bytes: int = 0
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """What samples from a policy. One per run: started in setup, closed at the run's end."""

    def start(self, policy: Policy, world: World) -> None:
        """Makes the engine ready to sample from the policy's weights as they are, at version 0."""

    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """The n completions of each request, in the requests' order.

        Args:
            seed: the same seed, requests and weights give the same completions.

        Raises:
            ConfigError: something is asked of it that it cannot do.
        """

    def sync(self, policy: Policy, version: int) -> SyncReport:
        """Takes the policy's weights as they are now; completions carry `version` from here on.

        Args:
            version: optimizer steps that led to these weights.
        """

    def close(self) -> None:
        """Gives back what it holds; it samples no more."""


def own_seed(seed: int, index: int) -> int:
    """The seed of a call's request at `index`."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:7], "big")
