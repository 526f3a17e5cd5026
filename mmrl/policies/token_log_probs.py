"""From hidden states to the log-probs of given tokens, without holding all logits at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Logits held at once, in elements: 2^26 float32 are 256 MiB.
CHUNK_ELEMENTS = 1 << 26


def token_log_probs(
    hidden_NH: Tensor,
    head: Callable[[Tensor], Tensor],
    tokens_N: Tensor,
    allowed_V: Tensor,
    temperature: float = 1.0,
    entropy: str = "none",
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Log-probs of `tokens_N` under softmax(head(hidden) / temperature) over the allowed tokens.

    Vocabularies of 150k make the logits the largest tensor of a step, so long inputs go in chunks whose logits are
    recomputed in the backward pass.

    Args:
        entropy: `none`, `value` (for logging) or `gradient` (differentiable).

    Returns:
        float32 [N] log-probs, float32 [N] entropies in nats if asked for, and float32 [N] log-sum-exps of the logits.
    """
    rows = max(1, CHUNK_ELEMENTS // allowed_V.numel())
    if len(tokens_N) <= rows:
        return _chunk(hidden_NH, tokens_N, head, allowed_V, temperature, entropy)
    pieces = []
    for hidden, tokens in zip(hidden_NH.split(rows), tokens_N.split(rows)):
        arguments = (hidden, tokens, head, allowed_V, temperature, entropy)
        if torch.is_grad_enabled():
            pieces.append(checkpoint(_chunk, *arguments, use_reentrant=False))
        else:
            pieces.append(_chunk(*arguments))
    log_probs_N, entropy_N, normaliser_N = (
        torch.cat(parts) if parts[0] is not None else None for parts in zip(*pieces)
    )
    return log_probs_N, entropy_N, normaliser_N


def _chunk(hidden_NH, tokens_N, head, allowed_V, temperature, entropy):
    logits_NV = scaled_logits(head(hidden_NH), allowed_V, temperature)
    log_probs_NV = logits_NV.log_softmax(-1)
    chosen_N = log_probs_NV.gather(-1, tokens_N[:, None]).squeeze(-1)
    # log p = logit - log Z
    normaliser_N = logits_NV.gather(-1, tokens_N[:, None]).squeeze(-1) - chosen_N
    if entropy == "none":
        return chosen_N, None, normaliser_N
    if entropy == "value":
        log_probs_NV = log_probs_NV.detach()
    # Disallowed tokens have p = 0 and log p = -inf, whose product is NaN.
    entropy_N = -(log_probs_NV.exp() * log_probs_NV.masked_fill(~allowed_V, 0.0)).sum(-1)
    return chosen_N, entropy_N, normaliser_N


def scaled_logits(logits_NV: Tensor, allowed_V: Tensor, temperature: float) -> Tensor:
    """float32 (float64 stays) logits / temperature, -inf on disallowed tokens, for engine and trainer alike."""
    logits_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    if temperature not in (0.0, 1.0):
        logits_NV = logits_NV / temperature
    return logits_NV.masked_fill(~allowed_V, -torch.inf)
