"""What has been sampled of the rows that an engine decodes together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmrl.contracts.engine import Completion, Request
from mmrl.contracts.types import Span, StopReason


class Rows:
    """The completions of requests that want equally many, request by request; each row is at a step of its own.

    Args:
        limit: most units of a row.

    Attributes:
        ended_B: bool, whether a row takes no more units.

    Raises:
        ValueError: a prefix is not shorter than the limit.
    """

    def __init__(self, requests: Sequence[Request], limit: int, device: torch.device | str):
        self.n, self.restrict, self.limit = requests[0].n, requests[0].restrict, limit
        total = len(requests) * self.n
        self._prefix_BK, self._given_B = _prefixes(requests, limit, device)
        self._tokens_BU = torch.zeros(total, limit, dtype=torch.long, device=device)
        self._log_probs_BU = torch.zeros(total, limit, device=device)
        self._length_B = torch.zeros(total, dtype=torch.long, device=device)
        self.ended_B = torch.zeros(total, dtype=torch.bool, device=device)
        self._by_limit_B, self._by_text_B = torch.zeros_like(self.ended_B), torch.zeros_like(self.ended_B)
        self._draws_BU: Tensor | None = None
        if requests[0].seed is not None:
            # On the CPU: the same draws on every device.
            seeds = [torch.Generator().manual_seed(request.seed or 0) for request in requests]
            draws = [torch.rand(self.n, limit, dtype=torch.float64, generator=generator) for generator in seeds]
            self._draws_BU = torch.cat(draws).to(device)

    def draws(self, rows: Tensor) -> Tensor | None:
        """float64 [B] in [0, 1): what the next units of `rows` are drawn with; None: their requests have no seeds."""
        return None if self._draws_BU is None else self._draws_BU[rows, self._step(rows)]

    def _step(self, rows: Tensor) -> Tensor:
        return self._length_B[rows].clamp(max=self.limit - 1)

    def take(
        self,
        rows: Tensor,
        tokens: Tensor,
        log_probs: Tensor,
        ends: Tensor,
        said: Callable[[Tensor, Tensor], Tensor] | None,
    ) -> Tensor:
        """Appends a unit to each of `rows` that has not ended, and ends those that it ends.

        Args:
            rows: int64 [B], of all rows.
            tokens: int64 [B], what was sampled; a prefix goes before it.
            ends: int64, tokens that end a row.
            said: whether rows of so many units (int64 [B] and [B, U]) hold a text that ends them, as bool [B].

        Returns:
            int64 [B]: the units taken.

        Raises:
            ValueError: a prefix holds what ends a row.
        """
        steps, going = self._step(rows), ~self.ended_B[rows]
        in_prefix = steps < self._given_B[rows]
        if self._prefix_BK.shape[1]:
            given = self._prefix_BK[rows, steps.clamp(max=self._prefix_BK.shape[1] - 1)]
            tokens, log_probs = torch.where(in_prefix, given, tokens), log_probs.masked_fill(in_prefix, 0.0)
        taken, at = rows[going], steps[going]
        self._tokens_BU[taken, at], self._log_probs_BU[taken, at] = tokens[going], log_probs[going].float()
        self._length_B[taken] += 1
        by_end = torch.isin(tokens[going], ends)
        by_text = torch.zeros_like(by_end)
        if said is not None:
            by_text = said(self._length_B[taken], self._tokens_BU[taken]) & ~by_end
        stopped = by_end | by_text
        if self._prefix_BK.shape[1] and bool((stopped & in_prefix[going]).any()):
            step = int(at[stopped & in_prefix[going]].min())
            raise ValueError(f"a prefix ends its completion at unit {step}: there is nothing to continue")
        cut = (at + 1 == self.limit) & ~stopped
        self.ended_B[taken], self._by_text_B[taken], self._by_limit_B[taken] = stopped | cut, by_text, cut
        return tokens

    def completions(self, temperature: float, spans: Callable[[int, int], tuple[Span, ...]]) -> list[Completion]:
        """Those of all rows; `spans` gives `Completion.versions` from the given and all units."""
        tokens_BU, log_probs_BU = self._tokens_BU.cpu(), self._log_probs_BU.cpu()
        facts = zip(*(t.tolist() for t in (self._length_B, self._given_B, self._by_limit_B, self._by_text_B)))
        return [
            Completion(
                tokens_BU[row, :units].clone(),
                log_probs_BU[row, :units].clone(),
                self._stop(by_limit, by_text),
                temperature,
                spans(given, units),
                given,
            )
            for row, (units, given, by_limit, by_text) in enumerate(facts)
        ]

    def _stop(self, by_limit: bool, by_text: bool) -> StopReason:
        if by_limit:
            return StopReason.WHOLE if self.restrict else StopReason.LENGTH
        return StopReason.TEXT if by_text else StopReason.END


def _prefixes(requests: Sequence[Request], limit: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """int64 [B, K], right-padded, and their lengths [B]: the prefix of each of the n rows of each request."""
    lengths = [0 if request.prefix is None else len(request.prefix) for request in requests]
    if max(lengths) >= limit:
        raise ValueError(f"a prefix of {max(lengths)} units leaves nothing to sample below the limit of {limit}")
    prefix_RK = torch.zeros(len(requests), max(lengths), dtype=torch.long)
    for i, request in enumerate(requests):
        if request.prefix is not None:
            prefix_RK[i, : lengths[i]] = request.prefix
    n = requests[0].n
    return prefix_RK.repeat_interleave(n, 0).to(device), torch.tensor(lengths, device=device).repeat_interleave(n)
