"""The `hf` engine: batched sampling from the training weights themselves.

Each prompt is computed once and its cache fanned out to the n samples; rows leave the batch as they finish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.types import Prompt
from mmrl.engines.sampling import sample_tokens
from mmrl.recipe.rollout import SamplingConfig

# Finished rows are cut out of the batch when the live share falls below this: cutting copies the cache.
COMPACT_BELOW = 0.75


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer.

    Attributes:
        tokens: int64 [U], end token included; see `Decision.tokens`.
        log_probs: float32 [U].
        truncated: whether it was cut off.
        text: what it says, where that is not what its tokens decode to.
        context: see `Decision.context`.
    """

    tokens: Tensor
    log_probs: Tensor
    truncated: bool
    text: str | None = None
    context: Any = None


class HFEngine:
    """Samples with the policy's own forward pass."""

    def __init__(self, policy: Any, batch_size: int = 256, side: str = "left"):
        self.policy = policy
        self.batch_size = batch_size
        self.side = side

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: SamplingConfig,
        n: int,
        seed: int,
        restrict: str | None = None,
    ) -> list[list[Completion]]:
        """n completions of each prompt.

        Args:
            seed: of the sampling; the same seed, prompts and weights give the same completions.
            restrict: a token set of the policy; restricted completions run to `max_new_tokens` without an end token.
        """
        training = self.policy.module.training
        self.policy.module.eval()
        generator = torch.Generator(device=self.policy.device).manual_seed(seed)
        results: list[list[Completion]] = []
        chunk = max(1, self.batch_size // n)
        try:
            for start in range(0, len(prompts), chunk):
                part = prompts[start : start + chunk]
                rows = self._decode(part, sampling, n, generator, restrict)
                results += [rows[i * n : (i + 1) * n] for i in range(len(part))]
        finally:
            self.policy.module.train(training)
        return results

    def _decode(self, prompts, sampling: SamplingConfig, n: int, generator, restrict) -> list[Completion]:
        policy = self.policy
        allowed = policy.allowed_tokens(restrict)
        ends = torch.tensor([] if restrict else policy.eos_ids, dtype=torch.long, device=policy.device)
        state = policy.prefill(prompts, n, self.side)
        total, limit = len(prompts) * n, sampling.max_new_tokens
        tokens_BU = torch.zeros(total, limit, dtype=torch.long, device=policy.device)
        log_probs_BU = torch.zeros(total, limit, device=policy.device)
        lengths_B = torch.full((total,), limit, device=policy.device)
        stopped_B = torch.zeros(total, dtype=torch.bool, device=policy.device)
        rows = torch.arange(total, device=policy.device)
        for step in range(limit):
            tokens, log_probs = sample_tokens(state.logits_BV, allowed, sampling, generator)
            tokens_BU[rows, step], log_probs_BU[rows, step] = tokens, log_probs.float()
            done = torch.isin(tokens, ends) | self._hits_stop(tokens_BU, rows, step, sampling.stop)
            newly = rows[done & ~stopped_B[rows]]
            stopped_B[newly], lengths_B[newly] = True, step + 1
            live = ~stopped_B[rows]
            if step + 1 == limit or not bool(live.any()):
                break
            if float(live.float().mean()) < COMPACT_BELOW:
                keep = live.nonzero().squeeze(-1)
                state, rows, tokens = state.select(keep), rows[keep], tokens[keep]
            state = policy.decode(state, tokens)
        cut = torch.zeros_like(stopped_B) if restrict else ~stopped_B
        return [
            Completion(tokens_BU[i, :k].cpu(), log_probs_BU[i, :k].cpu(), bool(cut[i]))
            for i, k in enumerate(lengths_B.tolist())
        ]

    def _hits_stop(self, tokens_BU: Tensor, rows: Tensor, step: int, stop: Sequence[str]) -> Tensor:
        hits = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        if stop:
            # A stop text spans at most its own number of bytes in tokens.
            start = max(0, step + 1 - 2 * max(len(s.encode()) for s in stop))
            for i, row in enumerate(rows.tolist()):
                tail = self.policy.decode_text(tokens_BU[row, start : step + 1])
                hits[i] = any(s in tail for s in stop)
        return hits
