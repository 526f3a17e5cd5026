"""What token policies share: one forward pass behind training, sampling and references.

A subclass computes hidden states (`_hidden` over whole rows, `_next_hidden` for one more token); all that follows
from them is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Distribution, Likelihood, PolicyBatch, Prompt
from mmrl.policies import layout
from mmrl.policies.adapted_model import AdaptedModel
from mmrl.policies.attention.shared_cache import SharedCache, decoding
from mmrl.policies.token_log_probs import token_log_probs
from mmrl.policies.value_head import ValueHead, first_of_rows
from mmrl.recipe.policy import Packed, TrainedConfig


@dataclass(frozen=True, slots=True)
class CachedState:
    """Sampling state: key-value cache and each row's next position."""

    cache: SharedCache
    next_position_B: Tensor
    logits_BV: Tensor

    def select(self, rows: Tensor) -> CachedState:
        """The state of `rows` (int64). The cache is cut in place."""
        self.cache.select(rows)
        return replace(self, next_position_B=self.next_position_B[rows], logits_BV=self.logits_BV[rows])

    def join(self, other: CachedState) -> CachedState:
        """See `DecodeState.join`. The cache grows in place."""
        self.cache.join(other.cache)
        following = torch.cat([self.next_position_B, other.next_position_B])
        return CachedState(self.cache, following, torch.cat([self.logits_BV, other.logits_BV]))


@dataclass(frozen=True, slots=True)
class PaddedPrompts:
    """Prompts side by side.

    Attributes:
        input_ids_BT, positions_3BT: int64, 0 on padding.
        seen_BT: bool, true on real tokens.
        last_B: int64, the column of each prompt's last token.
    """

    input_ids_BT: Tensor
    positions_3BT: Tensor
    seen_BT: Tensor
    last_B: Tensor


def pad_prompts(ids: Sequence[Tensor], positions: Sequence[Tensor], side: str) -> PaddedPrompts:
    """Pads prompts of int64 [P] ids and [3, P] positions on the `left` or the `right`."""
    width = max(len(ids_P) for ids_P in ids)
    input_ids = torch.zeros(len(ids), width, dtype=torch.long)
    positions_3BT = torch.zeros(3, len(ids), width, dtype=torch.long)
    seen_BT = torch.zeros(len(ids), width, dtype=torch.bool)
    for b, (ids_P, where) in enumerate(zip(ids, positions)):
        span = slice(width - len(ids_P), width) if side == "left" else slice(0, len(ids_P))
        input_ids[b, span], positions_3BT[:, b, span], seen_BT[b, span] = ids_P, where, True
    last = seen_BT.long().mul(torch.arange(width)).argmax(1)
    return PaddedPrompts(input_ids, positions_3BT, seen_BT, last)


class TokenPolicy(AdaptedModel):
    """The shared half of an adapter; see `mmrl.contracts.policy.Policy` for the contract.

    Raises:
        ConfigError: `policy.packing` is `group`, and the model has layers that cannot pack so.
    """

    def __init__(self, model: nn.Module, config: TrainedConfig, value_head: ValueHead | None = None):
        super().__init__(model, config, value_head)
        if isinstance(config, Packed) and config.packing == "group":
            from mmrl.policies.attention.interface import use_segments

            use_segments(self._model, config.attention)

    def allowed_tokens(self, restrict: str | None) -> Tensor:
        """bool [V]: tokens that may be sampled."""
        raise NotImplementedError

    def _hidden(
        self,
        ids_BT: Tensor,
        positions_3BT: Tensor,
        mask: Tensor | None,
        prompts: Sequence[Any],
        cache: Any = None,
        **attention: Any,
    ) -> Tensor:
        """[B, T, H]: last hidden states of rows of tokens.

        Args:
            mask: what transformers' models take; None: causal, with padding at the end if anywhere.
            prompts: those that stand in the rows, in their order.
            attention: further arguments of the layers' attention, which the model is to be called with.
        """
        raise NotImplementedError

    def _next_hidden(self, tokens_B: Tensor, positions_3B1: Tensor, cache: SharedCache) -> Tensor:
        """[B, H]: last hidden states of one more token per row; `cache.arguments` go to the language model."""
        raise NotImplementedError

    def _positions(self, prompt: Any) -> Tensor:
        """int64 [3, P] positions of a prompt."""
        raise NotImplementedError

    def _mask(self, mask: Tensor) -> Tensor:
        """SDPA reads bool masks; eager attention adds them."""
        if self.config.attention != "eager":
            return mask
        dtype = next(self._model.parameters()).dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)

    def batch_tokens(self, prompts: Sequence[Prompt], rows_per_prompt: Sequence[Sequence[int]]) -> int:
        """Tokens of one forward pass, padding included, for the lengths of the rows of each prompt."""
        return layout.size([p.length for p in prompts], rows_per_prompt, self.config.packing)

    def log_probs(
        self, batch: PolicyBatch, entropy: str = "none", others: Mapping[tuple[str, str], Distribution] | None = None
    ) -> Likelihood:
        """Log-probs (and entropies) of the batch's units, temperature and token bans applied as in sampling.

        Args:
            others: see `Comparing.log_probs`.
        """
        hidden_NH = self.unit_states(batch)
        return self._likelihood(hidden_NH, batch, entropy, others or {})

    def unit_states(self, batch: PolicyBatch) -> Tensor:
        """[N, H]: the hidden state that predicts each unit, row by row."""
        with self._autocast():
            return self._unit_states(batch)

    def output_head(self) -> Callable[[Tensor], Tensor]:
        """See `Comparing.output_head`."""
        head = self._model.get_output_embeddings()
        if hasattr(head, "base_layer"):
            raise ConfigError(
                "policy.lora.targets: adapters on the output layer change what a distribution is compared with; leave "
                "the output layer out"
            )
        return head

    def _unit_states(self, batch: PolicyBatch) -> Tensor:
        rows = layout.build(
            [p.input_ids for p in batch.prompts],
            [self._positions(p) for p in batch.prompts],
            batch.prompt_index_R.tolist(),
            batch.tokens_RU,
            batch.mask_RU.sum(1).tolist(),
            self.config.packing,
        )
        hidden_BTH = self._hidden(
            rows.input_ids_BT.to(self.device),
            rows.position_ids_3BT.to(self.device),
            self._row_mask(rows),
            [batch.prompts[p] for p in rows.prompts],
            **({} if rows.plan is None else {"segments": rows.plan}),
        )
        # index_select, not indexing: the backward of repeated indices is then summed in a fixed order.
        return hidden_BTH.flatten(0, 1).index_select(0, rows.gather_N.to(self.device))

    def _row_mask(self, rows: layout.Layout) -> Tensor | None:
        if rows.plan is not None:
            from mmrl.policies.attention.interface import no_mask

            return no_mask(self.device)
        if self.config.attention != "flash_attention_2":
            return None
        # It leaves padding out of its products.
        width = rows.input_ids_BT.shape[1]
        return (torch.arange(width) < torch.tensor(rows.lengths)[:, None]).long().to(self.device)

    def _likelihood(
        self,
        hidden_NH: Tensor,
        batch: PolicyBatch,
        entropy: str,
        others: Mapping[tuple[str, str], Distribution],
    ) -> Likelihood:
        with self._autocast():
            log_probs_N, entropy_N, normaliser_N, divergences = token_log_probs(
                hidden_NH,
                self._model.get_output_embeddings(),
                batch.tokens_RU[batch.mask_RU].to(self.device),
                self.allowed_tokens(batch.restrict),
                batch.temperature,
                entropy,
                [(form, other) for (form, _), other in others.items()],
            )
        mask_RU = batch.mask_RU.to(self.device)
        return Likelihood(
            spread(log_probs_N, mask_RU),
            mask_RU,
            spread(entropy_N, mask_RU) if entropy_N is not None else None,
            self.value_head(first_of_rows(hidden_NH, mask_RU)) if self.value_head is not None else None,
            spread(normaliser_N, mask_RU),
            {key: spread(divergence_N, mask_RU) for key, divergence_N in zip(others, divergences, strict=True)},
        )

    def cast_once(self) -> AbstractContextManager[None]:
        """See `Decoding.cast_once`: the outermost autocast keeps the casts of trained weights until it ends."""
        return self._autocast()

    @torch.no_grad()
    def prefill(self, prompts: Sequence[Any], repeats: int, side: str = "left") -> CachedState:
        """Runs each prompt once; `repeats` consecutive rows then read the same cache.

        Raises:
            ConfigError: layers that see a window of the text alone.
        """
        from transformers import DynamicCache

        padded = pad_prompts([p.input_ids for p in prompts], [self._positions(p) for p in prompts], side)
        seen_BT = padded.seen_BT.to(self.device)
        cache = DynamicCache(config=self._model.config.get_text_config())
        if any(cache.is_sliding):
            raise ConfigError(
                f"policy.path: '{self.config.path}' has layers with a sliding window of attention, which policy.type "
                f"'{self.config.type}' does not decode"
            )
        with self._autocast():
            hidden = self._hidden(
                padded.input_ids_BT.to(self.device),
                padded.positions_3BT.to(self.device),
                self._prompt_mask(seen_BT, side),
                prompts,
                cache,
            )
            last = hidden[torch.arange(len(prompts), device=self.device), padded.last_B.to(self.device)]
            logits = self._model.get_output_embeddings()(last)
        following = padded.positions_3BT.amax((0, 2)).to(self.device) + 1
        shared = SharedCache([(layer.keys, layer.values) for layer in cache.layers], seen_BT, repeats, logits.dtype)
        return CachedState(shared, following.repeat_interleave(repeats, 0), logits.repeat_interleave(repeats, 0))

    def _prompt_mask(self, seen_BT: Tensor, side: str) -> Tensor | None:
        """Of prompts side by side; None: causal, with padding at the end if anywhere."""
        if side == "right" or bool(seen_BT.all()):
            return None
        if self.config.attention == "flash_attention_2":
            return seen_BT.long()
        width = seen_BT.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool, device=self.device).tril()
        # Padding sees itself: a query with nothing to look at would give NaN.
        eye = torch.eye(width, dtype=torch.bool, device=self.device)
        return self._mask(((seen_BT[:, None, :] & causal) | eye)[:, None])

    @torch.no_grad()
    def decode(self, state: CachedState, tokens_B: Tensor) -> CachedState:
        """Appends one token per row and computes the next logits."""
        positions_3B1 = state.next_position_B[None, :, None].expand(3, -1, 1)
        with self._autocast(), decoding(self._model.get_decoder().config):
            hidden_BH = self._next_hidden(tokens_B, positions_3B1, state.cache)
            logits = self._model.get_output_embeddings()(hidden_BH)
        state.cache.advance()
        return CachedState(state.cache, state.next_position_B + 1, logits)


def spread(values_N: Tensor, mask_RU: Tensor) -> Tensor:
    """Row-by-row values into [R, U], 0 where masked."""
    return torch.zeros(mask_RU.shape, dtype=values_N.dtype, device=mask_RU.device).masked_scatter(mask_RU, values_N)
