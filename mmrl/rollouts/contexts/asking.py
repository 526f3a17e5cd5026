"""What the engine is asked under a context, and what its completions are where they are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mmrl.contracts.context import Begins, Context
from mmrl.contracts.engine import Completion, Request
from mmrl.contracts.policy import Policy, without_dropout
from mmrl.contracts.source import Ready, Terms
from mmrl.contracts.types import PolicyBatch


@dataclass(frozen=True, slots=True)
class Told:
    """A request under a context.

    Attributes:
        hidden: its prompt is not the one that answers are scored under, so their log-probs are those of another.
        corrected: ratios start from them all the same.
        learned, log_probs: bool [K] and float32 [K], of the units that answers begin with; None: there are none.
        facts: for the record.
    """

    request: Request
    hidden: bool = False
    corrected: bool = False
    learned: torch.Tensor | None = None
    log_probs: torch.Tensor | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def settled(self, completion: Completion) -> Completion:
        """The completion as the trainer takes it."""
        if self.hidden:
            return replace(completion, log_probs=None, old=completion.log_probs if self.corrected else None)
        if self.learned is None or completion.log_probs is None or self.log_probs is None:
            return completion
        given = completion.given
        rest = torch.ones(len(completion.tokens) - given, dtype=torch.bool)
        log_probs = torch.cat([self.log_probs[:given], completion.log_probs[given:]])
        return replace(completion, learned=torch.cat([self.learned[:given], rest]), log_probs=log_probs)


def shown_requests(policy: Policy, context: Context, ready: Sequence[Ready], terms: Terms) -> list[Told]:
    """Requests for answers to the samples as a context shows them."""
    samples = [context.shown(item.sample) for item in ready]
    return [
        Told(
            Request(prompt, terms.shown),
            hidden=True,
            corrected=terms.corrected,
            facts={"sampled_under": sample.question},
        )
        for prompt, sample in zip(policy.prepare(samples), samples, strict=True)
    ]


def begun_requests(policy: Policy, context: Begins, ready: Sequence[Ready], terms: Terms) -> list[Told]:
    """Requests for answers that continue what a context gives; a share of that is learned too."""
    limit = terms.sampling.max_new_tokens
    told = []
    for item in ready:
        (prompt,) = item.prompts
        begun = context.begin(item.sample, policy, limit, terms.progress, terms.seed)
        if not len(begun.units):
            told.append(Told(Request(prompt, terms.shown)))
            continue
        request = Request(prompt, terms.shown, prefix=begun.units)
        facts = {"given": len(begun.units)}
        if not begun.learned:
            told.append(Told(request, facts=facts))
            continue
        log_probs, entropy = _scored(policy, request, terms.sampling.temperature)
        least = entropy.topk(max(1, round(begun.learned * len(entropy)))).values[-1]
        told.append(Told(request, learned=entropy >= least, log_probs=log_probs, facts=facts))
    return told


@torch.no_grad()
def _scored(policy: Policy, request: Request, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probs, entropies), float32 [K] each, of the units that a request gives."""
    units = request.prefix
    if units is None:
        raise ValueError("the request gives no units")
    batch = PolicyBatch(
        prompts=[request.prompt],
        prompt_index_R=torch.zeros(1, dtype=torch.long),
        tokens_RU=units[None],
        mask_RU=torch.ones(1, len(units), dtype=torch.bool),
        temperature=temperature,
        contexts=(None,),
    )
    with without_dropout(policy):
        likelihood = policy.log_probs(batch, entropy="value")
    if likelihood.entropy_RU is None:
        raise ValueError("the policy gives no entropies")
    return likelihood.log_probs_RU[0].float().cpu(), likelihood.entropy_RU[0].float().cpu()
