"""The `hf` engine: batched sampling from the training weights themselves.

Each prompt is computed once, and its n samples read the same cache; rows leave the batch as they finish.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmrl.contracts.engine import Completion, Request, Sampling
from mmrl.contracts.policy import Decoding, Policy, TokenPolicy, without_dropout
from mmrl.contracts.types import StopReason
from mmrl.engines.base import InProcess, batch_requests
from mmrl.engines.sampling import sample_tokens
from mmrl.recipe.engines import HFSettings

# Finished rows are cut out of the batch when the live share falls below this: cutting copies what the others sampled.
COMPACT_BELOW = 0.75


class HFEngine(InProcess[TokenPolicy]):
    """Samples with the policy's own forward pass, one token of each row at a time.

    Args:
        side: on which prompts of unequal length are padded; no token depends on it. `right` needs no mask while prompts
            are computed.
    """

    def __init__(self, settings: HFSettings, side: str = "right"):
        super().__init__(settings)
        self.side = side

    def as_sampled(self, policy: Policy) -> TokenPolicy:
        """See `InProcess.as_sampled`."""
        if not isinstance(policy, Decoding):
            raise self.refusal(policy)
        return policy

    @torch.no_grad()
    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """See `Engine.generate`. A prefix is fed token by token, as if it had been sampled.

        Raises:
            ValueError: a prefix is not shorter than the limit of units, or holds an end.
        """
        results: list[list[Completion]] = [[] for _ in requests]
        with without_dropout(self.policy), self.policy.cast_once():
            for indices, generator in batch_requests(requests, seed, self.settings.batch_size, self.policy.device):
                part = [requests[i] for i in indices]
                rows, n = self._decode(part, sampling, generator), part[0].n
                for place, i in enumerate(indices):
                    results[i] = rows[place * n : (place + 1) * n]
        return results

    def _decode(self, part: Sequence[Request], sampling: Sampling, generator: torch.Generator) -> list[Completion]:
        """The completions of requests that want equally many from one token set, request by request."""
        policy, n, restrict = self.policy, part[0].n, part[0].restrict
        allowed_V = policy.allowed_tokens(restrict)
        ends = torch.tensor([] if restrict else policy.eos_ids, dtype=torch.long, device=policy.device)
        state = policy.prefill([request.prompt for request in part], n, self.side)
        total, limit = len(part) * n, sampling.max_new_tokens
        prefix_BK, given_B = _prefixes(part, limit, policy.device)
        tokens_BU = torch.zeros(total, limit, dtype=torch.long, device=policy.device)
        log_probs_BU = torch.zeros(total, limit, device=policy.device)
        lengths_B = torch.full((total,), limit, device=policy.device)
        ended_B = torch.zeros(total, dtype=torch.bool, device=policy.device)
        by_text_B = torch.zeros_like(ended_B)
        rows = torch.arange(total, device=policy.device)
        for step in range(limit):
            tokens, log_probs = sample_tokens(state.logits_BV, allowed_V, sampling, generator)
            if step < prefix_BK.shape[1]:
                in_prefix = step < given_B[rows]
                tokens = torch.where(in_prefix, prefix_BK[rows, step], tokens)
                log_probs = log_probs.masked_fill(in_prefix, 0.0)
            tokens_BU[rows, step], log_probs_BU[rows, step] = tokens, log_probs.float()
            by_end, by_text = torch.isin(tokens, ends), self._hits_stop(tokens_BU, rows, step, sampling.stop)
            if step < prefix_BK.shape[1] and bool(((by_end | by_text) & in_prefix).any()):
                raise ValueError(f"a prefix ends its completion at unit {step}: there is nothing to continue")
            newly = (by_end | by_text) & ~ended_B[rows]
            ended_B[rows[newly]], lengths_B[rows[newly]] = True, step + 1
            by_text_B[rows[newly]] = ~by_end[newly]
            live = ~ended_B[rows]
            if step + 1 == limit or not bool(live.any()):
                break
            if float(live.float().mean()) < COMPACT_BELOW:
                keep = live.nonzero().squeeze(-1)
                state, rows, tokens = state.select(keep), rows[keep], tokens[keep]
            state = policy.decode(state, tokens)
        stops = [_stop(*facts, restrict) for facts in zip(ended_B.tolist(), by_text_B.tolist())]
        temperature = sampling.temperature or 1.0
        return [
            Completion(
                tokens_BU[i, :units].cpu(),
                log_probs_BU[i, :units].cpu(),
                stops[i],
                temperature,
                self.spans(in_prefix, units),
                in_prefix,
            )
            for i, (units, in_prefix) in enumerate(zip(lengths_B.tolist(), given_B.tolist()))
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


def _prefixes(part: Sequence[Request], limit: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """int64 [B, K], right-padded, and their lengths [B]: the prefix of each of the n rows of each request."""
    lengths = [0 if request.prefix is None else len(request.prefix) for request in part]
    if max(lengths) >= limit:
        raise ValueError(f"a prefix of {max(lengths)} units leaves nothing to sample below the limit of {limit}")
    prefix_RK = torch.zeros(len(part), max(lengths), dtype=torch.long)
    for i, request in enumerate(part):
        if request.prefix is not None:
            prefix_RK[i, : lengths[i]] = request.prefix
    n = part[0].n
    return prefix_RK.repeat_interleave(n, 0).to(device), torch.tensor(lengths, device=device).repeat_interleave(n)


def _stop(ended: bool, by_text: bool, restrict: str | None) -> StopReason:
    if ended:
        return StopReason.TEXT if by_text else StopReason.END
    return StopReason.WHOLE if restrict else StopReason.LENGTH
