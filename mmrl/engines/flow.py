"""The `flow` engine: chunks of actions denoised by a flow policy's own forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mmrl.contracts.engine import Completion, Request, Sampling
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.policy import Denoising, FlowPolicy, Policy, without_dropout
from mmrl.contracts.types import StopReason
from mmrl.engines.base import InProcess, alike, batches
from mmrl.recipe.policies.registry import alternatives, policies_for


class FlowEngine(InProcess[FlowPolicy]):
    """Samples a flow policy."""

    def as_sampled(self, policy: Policy) -> FlowPolicy:
        """See `InProcess.as_sampled`."""
        if not isinstance(policy, Denoising):
            raise self.refusal(policy)
        return policy

    @torch.no_grad()
    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """n chunks of actions of each request; a request's own seed is that of its noise, whatever is beside it.

        Args:
            sampling: temperature 0 follows the ODE, any other value the policy's sampler, whose noise is a setting of
                the policy; `max_new_tokens` is the units of a chunk. The rest is about tokens and has no effect.

        Raises:
            ConfigError: prompts to be answered in text, or a prefix to be continued.
        """
        if any(request.restrict != "action" for request in requests):
            raise ConfigError(
                f"policy.type '{self.policy.config.type}' acts in simulators and answers no text; use data of type "
                f"episodes, or policy.type {alternatives(policies_for('answers'))}"
            )
        self.refuse_prefixes(requests)
        results: list[list[Completion]] = [[] for _ in requests]
        temperature, greedy = sampling.temperature or 1.0, sampling.temperature == 0.0
        with without_dropout(self.policy):
            size, device = self.settings.batch_size, self.policy.device
            shared = torch.Generator(device=device).manual_seed(seed)
            together = [batch for g in alike(requests) for batch in batches(g, requests[g[0]].n, size)]
            for indices in together:
                n, prompts = requests[indices[0]].n, [requests[i].prompt for i in indices]
                seeds = [own for i in indices if (own := requests[i].seed) is not None]
                # On the CPU: the same noise whatever device denoises it.
                noise = [torch.Generator().manual_seed(own) for own in seeds] or shared
                decisions = self.policy.sample(prompts, n, sampling.max_new_tokens, noise, deterministic=greedy)
                for place, decision in enumerate(decisions):
                    units = self.spans(0, len(decision.tokens))
                    results[indices[place // n]].append(
                        Completion(
                            decision.tokens,
                            decision.log_probs,
                            StopReason.WHOLE,
                            temperature,
                            units,
                            context=decision.context,
                        )
                    )
        return results
