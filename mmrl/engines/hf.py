"""The `hf` engine: batched sampling from the training weights themselves.

Each prompt is computed once, and its n samples read the same cache; rows leave the batch as they finish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mmrl.contracts.engine import Completion, Request, Sampling, own_seed
from mmrl.contracts.policy import DecodeState, Decoding, Policy, TokenPolicy, without_dropout
from mmrl.engines.base import InProcess, alike, batches
from mmrl.engines.rows import Rows
from mmrl.engines.sampling import sample_tokens, says_stop
from mmrl.recipe.engines import HFSettings

# Finished rows are cut out of the batch when the live share falls below this: cutting copies what the others sampled.
COMPACT_BELOW = 0.75

# Times that a place is taken within one table of what is sampled, which grows with the requests in it.
TURNS = 16


class HFEngine(InProcess[TokenPolicy]):
    """Samples with the policy's own forward pass, one token of each row at a time.

    Args:
        side: on which prompts of unequal length are padded; no token depends on it. `right` needs no mask while prompts
            are computed.
    """

    def __init__(self, settings: HFSettings, side: str = "right"):
        super().__init__(settings)
        self.side, self._own_seeds = side, settings.seeds == "request"

    def as_sampled(self, policy: Policy) -> TokenPolicy:
        """See `InProcess.as_sampled`."""
        if not isinstance(policy, Decoding):
            raise self.refusal(policy)
        return policy

    @torch.no_grad()
    def generate(self, requests: Sequence[Request], sampling: Sampling, seed: int) -> list[list[Completion]]:
        """See `Engine.generate`. A prefix is fed token by token, as if it had been sampled.

        Where no draw depends on the rows beside it (greedy, or requests with seeds of their own), the places of
        finished rows go to the next requests. Requests without seeds draw from `seed` batch after batch.

        Raises:
            ValueError: a prefix is not shorter than the limit of units, or holds an end.
        """
        results: list[list[Completion]] = [[] for _ in requests]
        if self._own_seeds:
            requests = [replace(r, seed=own_seed(seed, i)) if r.seed is None else r for i, r in enumerate(requests)]
        generator = torch.Generator(device=self.policy.device).manual_seed(seed)
        with without_dropout(self.policy), self.policy.cast_once():
            for indices in alike(requests):
                n, seeded = requests[indices[0]].n, requests[indices[0]].seed is not None
                turns = TURNS if seeded or sampling.temperature == 0.0 else 1
                for batch in batches(indices, n, turns * self.settings.batch_size):
                    rows = self._decode([requests[i] for i in batch], sampling, generator)
                    for place, i in enumerate(batch):
                        results[i] = rows[place * n : (place + 1) * n]
        return results

    def _decode(self, part: Sequence[Request], sampling: Sampling, generator: torch.Generator) -> list[Completion]:
        """The completions of requests that want equally many from one token set, request by request."""
        policy, restrict = self.policy, part[0].restrict
        table = Rows(part, sampling.max_new_tokens, policy.device)
        allowed_V = policy.allowed_tokens(restrict)
        ends = torch.tensor([] if restrict else policy.eos_ids, dtype=torch.long, device=policy.device)
        said = partial(self._hits_stop, sampling.stop) if sampling.stop else None
        places, begun = max(1, self.settings.batch_size // table.n) * table.n, 0
        state: DecodeState | None = None
        rows = torch.empty(0, dtype=torch.long, device=policy.device)
        while begun < len(part) or state is not None:
            free = places - len(rows)
            if state is None or (begun < len(part) and free >= table.n and len(rows) <= COMPACT_BELOW * places):
                more = part[begun : begun + free // table.n]
                state, rows = self._admit(state, rows, more, begun * table.n)
                begun += len(more)
            draws = table.draws(rows)
            tokens, log_probs = sample_tokens(
                state.logits_BV, allowed_V, sampling, generator if draws is None else draws
            )
            tokens = table.take(rows, tokens, log_probs, ends, said)
            live = ~table.ended_B[rows]
            if not bool(live.any()):
                state, rows = None, rows[:0]
                continue
            if float(live.float().mean()) < COMPACT_BELOW:
                keep = live.nonzero().squeeze(-1)
                state, rows, tokens = state.select(keep), rows[keep], tokens[keep]
            state = policy.decode(state, tokens)
        return table.completions(sampling.temperature or 1.0, self.spans)

    def _admit(
        self, state: DecodeState | None, rows: Tensor, more: Sequence[Request], first: int
    ) -> tuple[DecodeState, Tensor]:
        """The state with the rows of `more` requests behind its own, the first of which is row `first` of all."""
        n = more[0].n
        new = self.policy.prefill([request.prompt for request in more], n, self.side)
        added = torch.arange(first, first + len(more) * n, device=rows.device)
        return (new if state is None else state.join(new)), torch.cat([rows, added])

    def _hits_stop(self, stop: Sequence[str], lengths_B: Tensor, tokens_BU: Tensor) -> Tensor:
        rows = zip(lengths_B.tolist(), tokens_BU)
        hits = [says_stop(tokens_U[:length], stop, self.policy.decode_text) for length, tokens_U in rows]
        return torch.tensor(hits, dtype=torch.bool, device=tokens_BU.device)
