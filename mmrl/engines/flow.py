"""The `flow` engine: chunks of actions denoised by a flow policy's own forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Prompt
from mmrl.engines.hf import Completion
from mmrl.recipe.rollout import SamplingConfig


class FlowEngine:
    """Samples a flow policy."""

    def __init__(self, policy: Any, batch_size: int = 256):
        self.policy, self.batch_size = policy, batch_size

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Prompt], sampling: SamplingConfig, n: int, seed: int, restrict: str | None = None
    ) -> list[list[Completion]]:
        """n chunks of actions for each prompt; the same seed, prompts and weights give the same chunks.

        Args:
            sampling: temperature 0 follows the ODE, any other value the policy's sampler, whose noise is a setting of
                the policy; `max_new_tokens` is the units of a chunk. The rest is about tokens and has no effect.

        Raises:
            ConfigError: prompts to be answered in text.
        """
        if restrict != "action":
            raise ConfigError(
                f"policy.type '{self.policy.config.type}' acts in simulators and answers no text; use data of type "
                "episodes, or policy.type qwen_vl"
            )
        training = self.policy.module.training
        self.policy.module.eval()
        generator = torch.Generator(device=self.policy.device).manual_seed(seed)
        results: list[list[Completion]] = []
        part = max(1, self.batch_size // n)
        try:
            for start in range(0, len(prompts), part):
                decisions = self.policy.sample(
                    prompts[start : start + part],
                    n,
                    sampling.max_new_tokens,
                    generator,
                    deterministic=sampling.temperature == 0.0,
                )
                made = [Completion(d.tokens, d.log_probs, False, context=d.context) for d in decisions]
                results += [made[i : i + n] for i in range(0, len(made), n)]
        finally:
            self.policy.module.train(training)
        return results
