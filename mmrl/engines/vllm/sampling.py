"""How a request is sampled, in the words of vLLM's `SamplingParams`, and what its outputs are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.engine import Request, Sampling
from mmrl.contracts.types import StopReason
from mmrl.engines.sampling import says_stop


def token_limits(allowed_V: Tensor) -> dict[str, Any]:
    """What keeps sampling to the allowed tokens, so that log-probs are of a softmax over them.

    vLLM copies and checks the list for each request, which is why the shorter of the two is taken.

    Args:
        allowed_V: bool, on any device.
    """
    allowed_V = allowed_V.cpu()
    banned = (~allowed_V).nonzero().squeeze(-1).tolist()
    if not banned:
        return {}
    if len(banned) <= len(allowed_V) // 2:
        return {"logit_bias": dict.fromkeys(banned, float("-inf"))}
    return {"allowed_token_ids": allowed_V.nonzero().squeeze(-1).tolist()}


def sampling_arguments(
    request: Request, sampling: Sampling, limits: Mapping[str, Any], eos_ids: Sequence[int], seed: int
) -> dict[str, Any]:
    """Arguments of `SamplingParams`; one completion where sampling is greedy, since all would be alike.

    Args:
        limits: `token_limits` of the request's token set.
        seed: of the request; each of its completions draws from one of its own.
    """
    greedy, ends = sampling.temperature == 0.0, request.restrict is None
    given = 0 if request.prefix is None else len(request.prefix)
    stop = list(sampling.stop) if ends else []
    return {
        "n": 1 if greedy else request.n,
        "temperature": sampling.temperature,
        "top_p": 1.0 if greedy else sampling.top_p,
        "top_k": 0 if greedy else sampling.top_k,
        "min_p": 0.0 if greedy else sampling.min_p,
        "max_tokens": sampling.max_new_tokens - given,
        "seed": None if greedy else seed,
        "logprobs": 0,
        # The end tokens of the policy, and no other that the checkpoint may name.
        "ignore_eos": True,
        "stop_token_ids": list(eos_ids) if ends else [],
        "stop": stop,
        "detokenize": bool(stop),
        "include_stop_str_in_output": True,
        **limits,
    }


def truncates(sampling: Sampling) -> bool:
    """Whether vLLM's log-probs would be those of a truncated distribution."""
    return sampling.temperature > 0.0 and (sampling.top_p < 1.0 or sampling.top_k > 0 or sampling.min_p > 0.0)


def stop_reason(finish: str | None, reason: int | str | None, restrict: str | None) -> StopReason:
    """What ended a completion.

    Args:
        finish, reason: vLLM's `finish_reason` and `stop_reason`.

    Raises:
        ValueError: vLLM ended it for another reason than its tokens (`abort`, `error`).
    """
    if finish == "length":
        return StopReason.WHOLE if restrict else StopReason.LENGTH
    if finish != "stop":
        raise ValueError(f"vLLM ended a completion with '{finish}'")
    return StopReason.TEXT if isinstance(reason, str) else StopReason.END


def check_prefix(
    prefix: Tensor, limit: int, ends: Sequence[int], stop: Sequence[str], text_of: Callable[[Tensor], str]
) -> None:
    """Raises ValueError where a prefix leaves nothing to sample, or has ended already."""
    if len(prefix) >= limit:
        raise ValueError(f"a prefix of {len(prefix)} units leaves nothing to sample below the limit of {limit}")
    ended = torch.isin(prefix, torch.tensor(list(ends), dtype=torch.long)).nonzero()
    step = int(ended[0]) if len(ended) else said_at(prefix, 0, stop, text_of)
    if step is not None:
        raise ValueError(f"a prefix ends its completion at unit {step}: there is nothing to continue")


def said_at(tokens: Tensor, given: int, stop: Sequence[str], text_of: Callable[[Tensor], str]) -> int | None:
    """The unit from `given` on that completes a stop text, in part with the units before it; None where none does."""
    if not stop:
        return None
    return next((unit for unit in range(given, len(tokens)) if says_stop(tokens[: unit + 1], stop, text_of)), None)
