"""Choosing the next token from logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmrl.contracts.engine import Sampling
from mmrl.policies.token_log_probs import scaled_logits


def sample_tokens(
    logits_BV: Tensor, allowed_V: Tensor, sampling: Sampling, draws: torch.Generator | Tensor
) -> tuple[Tensor, Tensor]:
    """Next tokens and their log-probs.

    The log-probs are those of softmax(logits / temperature) over the allowed tokens, before top-k, top-p and min-p:
    the distribution that the trainer recomputes. Temperature 0 takes the most likely token and reports its log-prob at
    temperature 1.

    Args:
        draws: a generator for all rows together, whose tokens then depend on how many there are; or float64 [B] in
            [0, 1), the place of each row's token in its cumulative distribution.

    Returns:
        int64 [B] and float32 [B].
    """
    logits_BV = scaled_logits(logits_BV, allowed_V, sampling.temperature)
    log_probs_BV = logits_BV.log_softmax(-1)
    if sampling.temperature == 0.0:
        tokens_B = logits_BV.argmax(-1)
    else:
        kept_BV = _truncate(log_probs_BV, sampling)
        tokens_B = _at(kept_BV, draws) if isinstance(draws, Tensor) else _race(kept_BV.softmax(-1), draws)
    return tokens_B, log_probs_BV.gather(-1, tokens_B[:, None]).squeeze(-1)


def _race(probs_BV: Tensor, generator: torch.Generator) -> Tensor:
    """int64 [B]: tokens drawn by their probabilities, the very ones that `torch.multinomial` draws.

    The least of exponential arrival times, each divided by its rate. Unlike multinomial it takes probabilities that are
    no numbers, which the engine's caller finds in the log-probs, without waiting for the device at each token.
    """
    arrivals_BV = torch.empty_like(probs_BV).exponential_(1, generator=generator)
    return torch.div(probs_BV, arrivals_BV, out=arrivals_BV).argmax(-1)


def _at(log_probs_BV: Tensor, draws_B: Tensor) -> Tensor:
    """int64 [B]: the tokens in whose share of the distribution the draws fall."""
    sums_BV = log_probs_BV.double().softmax(-1).cumsum(-1)
    # The draw stays below the sum of all, which rounding would let it reach.
    whole_B1 = sums_BV[:, -1:]
    places_B1 = torch.minimum(draws_B[:, None] * whole_B1, torch.nextafter(whole_B1, torch.zeros_like(whole_B1)))
    # Sums that are no numbers have no place for it.
    return torch.searchsorted(sums_BV, places_B1, right=True).squeeze(-1).clamp(max=sums_BV.shape[-1] - 1)


def _truncate(log_probs_BV: Tensor, sampling: Sampling) -> Tensor:
    """-inf outside top-k, the top-p nucleus and min-p; the most likely token always stays."""
    log_probs = log_probs_BV
    if 0 < sampling.top_k < log_probs.shape[-1]:
        floor = log_probs.topk(sampling.top_k, dim=-1).values[:, -1:]
        log_probs = log_probs.masked_fill(log_probs < floor, -torch.inf)
    if sampling.top_p < 1.0:
        ordered, index = log_probs.softmax(-1).sort(dim=-1, descending=True)
        outside = ordered.cumsum(-1) - ordered >= sampling.top_p
        log_probs = log_probs.masked_fill(torch.zeros_like(outside).scatter(-1, index, outside), -torch.inf)
    if sampling.min_p > 0.0:
        floor = log_probs.amax(-1, keepdim=True) + torch.log(torch.tensor(sampling.min_p))
        log_probs = log_probs.masked_fill(log_probs < floor, -torch.inf)
    return log_probs


def says_stop(tokens_U: Tensor, stop: Sequence[str], text_of: Callable[[Tensor], str]) -> bool:
    """Whether a stop text stands in the last of these units, of which it spans a window at most.

    Args:
        stop: one text at least.
    """
    # A stop text spans at most its own number of bytes in tokens.
    window = 2 * max(len(text.encode()) for text in stop)
    tail = text_of(tokens_U[max(0, len(tokens_U) - window) :])
    return any(text in tail for text in stop)
