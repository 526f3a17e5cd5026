"""From hidden states to the log-probs of given tokens, without holding all logits at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmrl.contracts.types import Distribution

# Logits held at once, in elements: 2^26 float32 are 256 MiB.
CHUNK_ELEMENTS = 1 << 26


def token_log_probs(
    hidden_NH: Tensor,
    head: Callable[[Tensor], Tensor],
    tokens_N: Tensor,
    allowed_V: Tensor,
    temperature: float = 1.0,
    entropy: str = "none",
    others: Sequence[tuple[str, Distribution]] = (),
) -> tuple[Tensor, Tensor | None, Tensor, list[Tensor]]:
    """Log-probs of `tokens_N` under softmax(head(hidden) / temperature) over the allowed tokens.

    Vocabularies of 150k make the logits the largest tensor of a step, so long inputs go in chunks whose logits are
    recomputed in the backward pass.

    Args:
        entropy: `none`, `value` (for logging) or `gradient` (differentiable).
        others: distributions of the same units, each with the form of a divergence (`Comparing.log_probs`).

    Returns:
        float32 [N] log-probs, float32 [N] entropies in nats if asked for, float32 [N] log-sum-exps of the logits, and
        float32 [N] for each of the others.
    """
    rows = max(1, CHUNK_ELEMENTS // allowed_V.numel())
    pieces = []
    for start in range(0, max(1, len(tokens_N)), rows):
        span = slice(start, start + rows)
        beside = [(form, replace(other, states_NH=other.states_NH[span])) for form, other in others]
        arguments = (hidden_NH[span], tokens_N[span], head, allowed_V, temperature, entropy, beside)
        if torch.is_grad_enabled() and len(tokens_N) > rows:
            pieces.append(checkpoint(_chunk, *arguments, use_reentrant=False))
        else:
            pieces.append(_chunk(*arguments))
    if len(pieces) == 1:
        return pieces[0]
    log_probs, entropies, normalisers, divergences = zip(*pieces)
    entropy_N = torch.cat(entropies) if entropy != "none" else None
    return torch.cat(log_probs), entropy_N, torch.cat(normalisers), [torch.cat(parts) for parts in zip(*divergences)]


def _chunk(hidden_NH, tokens_N, head, allowed_V, temperature, entropy, others):
    logits_NV = scaled_logits(head(hidden_NH), allowed_V, temperature)
    log_probs_NV = logits_NV.log_softmax(-1)
    chosen_N = log_probs_NV.gather(-1, tokens_N[:, None]).squeeze(-1)
    # log p = logit - log Z
    normaliser_N = logits_NV.gather(-1, tokens_N[:, None]).squeeze(-1) - chosen_N
    divergences = [divergence(form, log_probs_NV, other, allowed_V, temperature) for form, other in others]
    if entropy == "none":
        return chosen_N, None, normaliser_N, divergences
    if entropy == "value":
        log_probs_NV = log_probs_NV.detach()
    # Disallowed tokens have p = 0 and log p = -inf, whose product is NaN.
    entropy_N = -(log_probs_NV.exp() * log_probs_NV.masked_fill(~allowed_V, 0.0)).sum(-1)
    return chosen_N, entropy_N, normaliser_N, divergences


def divergence(form: str, log_p_NV: Tensor, other: Distribution, allowed_V: Tensor, temperature: float) -> Tensor:
    """[N]: `forward` KL(q || p), `reverse` KL(p || q) or `js`, q the other's under the same temperature and bans.

    Vocabularies padded to other sizes are compared where both have tokens: what is allowed lies there.
    """
    with torch.no_grad():
        logits_NW = other.head(other.states_NH).to(log_p_NV.device)
        width = min(logits_NW.shape[-1], len(allowed_V))
        allowed_W = allowed_V[:width]
        log_q_NW = scaled_logits(logits_NW[:, :width], allowed_W, temperature).log_softmax(-1)
    # Disallowed tokens have p = q = 0, and the differences of their logs would be NaN.
    log_p, log_q = (x[:, :width].masked_fill(~allowed_W, 0.0) for x in (log_p_NV, log_q_NW))
    p, q = (x.exp().masked_fill(~allowed_W, 0.0) for x in (log_p, log_q))
    if form == "forward":
        return (q * (log_q - log_p)).sum(-1)
    if form == "reverse":
        return (p * (log_p - log_q)).sum(-1)
    log_mean = torch.logaddexp(log_p, log_q) - log(2)
    return 0.5 * (p * (log_p - log_mean) + q * (log_q - log_mean)).sum(-1)


def scaled_logits(logits_NV: Tensor, allowed_V: Tensor, temperature: float) -> Tensor:
    """float32 (float64 stays) logits / temperature, -inf on disallowed tokens, for engine and trainer alike."""
    logits_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    if temperature not in (0.0, 1.0):
        logits_NV = logits_NV / temperature
    return logits_NV.masked_fill(~allowed_V, -torch.inf)
