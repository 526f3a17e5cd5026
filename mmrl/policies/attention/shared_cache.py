"""Keys and values of sampling: a prompt's are held once for all rows that answer it, a row's own are written in place.

One more token of each row attends to two parts, its prompt and its own earlier tokens; softmax over both follows from
the log-sum-exp of each (arXiv 2402.05099). Nothing is masked but the padding of prompts of unequal length, and the
columns before a row's first token where it joined rows that had some.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmrl.policies.attention.merged import fused

# What transformers calls the attention of decoding; it is in force inside of `decoding` alone.
ATTENTION = "mmrl_shared_prompt"
# Tokens by which a row's buffers grow.
BLOCK = 64


class SharedCache:
    """What transformers asks of a cache, for one more token of each row; see `DynamicCache`.

    Args:
        layers: keys and values [P, K, T, D] of P padded prompts, of K heads, for each layer.
        seen_PT: bool, true on real tokens.
        repeats: rows of each prompt, prompt by prompt.
        dtype: that attention reads. Under autocast keys come in the wider type of their rotation.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], seen_PT: Tensor, repeats: int, dtype: torch.dtype):
        self._dtype = dtype
        self._prompts = [(keys.to(dtype), values.to(dtype)) for keys, values in layers]
        self._own: dict[int, tuple[Tensor, Tensor]] = {}
        self._bias_P11T = None if bool(seen_PT.all()) else _bias(seen_PT, dtype)
        self._prompt_B = torch.arange(len(seen_PT), device=seen_PT.device).repeat_interleave(repeats)
        # Attention to prompts has `_most` places per prompt; None: the rows fill them all, in order.
        self._most = repeats
        self._place_B: Tensor | None = None
        self._length, self._attended = 0, 0
        # The column of each row's first token; None: 0 of all.
        self._first_B: Tensor | None = None
        self._own_bias_B11L: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(part.nbytes for pair in (*self._prompts, *self._own.values()) for part in pair)

    def arguments(self) -> dict[str, Any]:
        """Of a forward pass over one more token per row."""
        if self._first_B is not None:
            columns = torch.arange(self._length + 1, device=self._first_B.device)
            self._own_bias_B11L = _bias(columns >= self._first_B[:, None], self._dtype)
        return {"past_key_values": self, "use_cache": True, "attention_mask": None, "shared_cache": self}

    def get_seq_length(self, layer: int = 0) -> int:
        """Tokens of each row's own; its prompt's are not counted, for rows differ in them."""
        return self._length

    def update(self, keys_BK1D: Tensor, values_BK1D: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Takes the next token's keys and values; gives those of each row's own tokens, [B, K, L, D]."""
        here = self._length
        if layer not in self._own:
            self._own[layer] = keys_BK1D[:, :, :0].to(self._dtype), values_BK1D[:, :, :0].to(self._dtype)
        keys, values = self._own[layer]
        if here == keys.shape[2]:
            keys, values = self._own[layer] = _with_block(keys, here), _with_block(values, here)
        keys[:, :, here], values[:, :, here] = keys_BK1D[:, :, 0], values_BK1D[:, :, 0]
        return keys[:, :, : here + 1], values[:, :, : here + 1]

    def attend(self, layer: int, query_BH1D: Tensor, keys_BKLD: Tensor, values_BKLD: Tensor, scale: float) -> Tensor:
        """[B, 1, H, D]: what each row's token reads of its prompt and of its own tokens."""
        rows, heads, _, width = query_BH1D.shape
        kv_heads, most = keys_BKLD.shape[1], self._most
        # The queries that share keys and values stand beside each other, as if they were of one sequence: no copies
        # of keys for query heads (G to a head), nor for the rows of a prompt.
        query_BKGD = query_BH1D.to(self._dtype).reshape(rows, kv_heads, -1, width)
        own_BKGD, own_sum_BKG = attention(query_BKGD, keys_BKLD, values_BKLD, scale, self._own_bias_B11L)
        keys_PKTD, values_PKTD = self._prompts[layer]
        prompts, share = len(keys_PKTD), heads // kv_heads
        placed = query_BKGD
        if self._place_B is not None:
            placed = placed.new_zeros(prompts * most, kv_heads, share, width).index_copy(0, self._place_B, placed)
        together_PKQD = placed.view(prompts, most, kv_heads, share, width).transpose(1, 2).flatten(2, 3)
        said, sums = attention(together_PKQD, keys_PKTD, values_PKTD, scale, self._bias_P11T)
        said = said.unflatten(2, (most, share)).transpose(1, 2).flatten(0, 1)
        sums = sums.unflatten(2, (most, share)).transpose(1, 2).flatten(0, 1)
        if self._place_B is not None:
            said, sums = said[self._place_B], sums[self._place_B]
        of_prompt_BKG1 = (sums - own_sum_BKG).sigmoid()[..., None]
        self._attended += 1
        mixed_BKGD = own_BKGD + (said - own_BKGD) * of_prompt_BKG1
        return mixed_BKGD.to(self._dtype).reshape(rows, 1, heads, width)

    def advance(self) -> None:
        """Ends a token. Raises RuntimeError where the forward pass did not attend here in each layer."""
        if self._attended != len(self._prompts):
            raise RuntimeError(
                f"{self._attended} of {len(self._prompts)} layers attended to the shared prompts; what computes "
                "`_next_hidden` must pass `SharedCache.arguments` on to its attention"
            )
        self._length, self._attended = self._length + 1, 0

    def select(self, rows: Tensor) -> None:
        """Keeps `rows` (int64), in their order, and the prompts that they answer."""
        start = 0
        if self._first_B is not None:
            start = int(self._first_B[rows].min())
            self._first_B = self._first_B[rows] - start if len(self._first_B[rows].unique()) > 1 else None
            self._own_bias_B11L = None
        # Columns before the first token of all go too.
        self._own = {at: (keys[rows, :, start:], values[rows, :, start:]) for at, (keys, values) in self._own.items()}
        self._length -= start
        used, self._prompt_B = self._prompt_B[rows].unique(return_inverse=True)
        if len(used) < len(self._prompts[0][0]):
            self._prompts = [(keys[used], values[used]) for keys, values in self._prompts]
            self._bias_P11T = None if self._bias_P11T is None else self._bias_P11T[used]
        self._set_places()

    def join(self, other: SharedCache) -> None:
        """Takes the rows of another cache behind its own. Raises ValueError where those have tokens already."""
        if other._length:
            raise ValueError(f"rows with {other._length} tokens do not join others")
        mine, theirs = len(self._prompt_B), len(other._prompt_B)
        if self._length:
            first_B = self._prompt_B.new_zeros(mine) if self._first_B is None else self._first_B
            self._first_B = torch.cat([first_B, first_B.new_full((theirs,), self._length)])
        # Zeros: what is masked is still multiplied, by 0.
        self._own = {at: (_below(keys, theirs), _below(values, theirs)) for at, (keys, values) in self._own.items()}
        biases = self._prompt_bias(), other._prompt_bias()
        width = max(bias.shape[-1] for bias in biases)
        bias_P11T = torch.cat([pad(bias, (0, width - bias.shape[-1]), value=-torch.inf) for bias in biases])
        self._bias_P11T = bias_P11T if bool(bias_P11T.isinf().any()) else None
        self._prompt_B = torch.cat([self._prompt_B, other._prompt_B + len(self._prompts[0][0])])
        self._prompts = [
            (_stack(keys, more_keys, width), _stack(values, more_values, width))
            for (keys, values), (more_keys, more_values) in zip(self._prompts, other._prompts, strict=True)
        ]
        self._set_places()

    def _prompt_bias(self) -> Tensor:
        keys_PKTD = self._prompts[0][0]
        shape = len(keys_PKTD), 1, 1, keys_PKTD.shape[2]
        return keys_PKTD.new_zeros(shape) if self._bias_P11T is None else self._bias_P11T

    def _set_places(self) -> None:
        counts = self._prompt_B.bincount()
        self._most = int(counts.max())
        # A row's place among those of its prompt: its place in their order, less the first of its prompt.
        order = self._prompt_B.argsort(stable=True)
        sorted_B = self._prompt_B[order]
        within = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[sorted_B]
        self._place_B = torch.empty_like(order).index_copy(0, order, sorted_B * self._most + within)


def attention(
    query_NKQD: Tensor, keys_NKSD: Tensor, values_NKSD: Tensor, scale: float, bias_N11S: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of each query to every key, and the log-sum-exp [N, K, Q] of its scores.

    Args:
        bias_N11S: is added to the scores.
    """
    if query_NKQD.device.type == "cpu":
        mask = None if bias_N11S is None else bias_N11S.expand(-1, -1, query_NKQD.shape[2], -1)
        return fused(query_NKQD, keys_NKSD, values_NKSD, attn_mask=mask, scale=scale)
    return by_products(query_NKQD, keys_NKSD, values_NKSD, scale, bias_N11S)


def by_products(
    query_NKQD: Tensor, keys_NKSD: Tensor, values_NKSD: Tensor, scale: float, bias_N11S: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`attention` by matrix products in float32, for devices whose fused kernels keep the log-sum-exp to themselves."""
    with torch.autocast(query_NKQD.device.type, enabled=False):
        scores_NKQS = (query_NKQD.float() * scale) @ keys_NKSD.float().transpose(-1, -2)
        scores_NKQS = scores_NKQS if bias_N11S is None else scores_NKQS + bias_N11S.float()
        sums_NKQ = scores_NKQS.logsumexp(-1)
        mixed_NKQD = (scores_NKQS - sums_NKQ[..., None]).exp() @ values_NKSD.float()
    return mixed_NKQD.to(values_NKSD.dtype), sums_NKQ


def shared_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    shared_cache: SharedCache,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' interface of attention functions; see `SharedCache.attend`."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return shared_cache.attend(module.layer_idx, query, key, value, scale), None


@contextmanager
def decoding(text_config: Any) -> Iterator[None]:
    """Inside, the language model of this configuration attends by `SharedCache`."""
    _register()
    before = text_config._attn_implementation
    text_config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        text_config._attn_implementation = before


@cache
def _register() -> None:
    # On the first call, not on import, which needs no transformers.
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, shared_attention)


def _bias(seen_PT: Tensor, dtype: torch.dtype) -> Tensor:
    """[P, 1, 1, T]: 0 on what is seen, -inf elsewhere."""
    return torch.zeros(seen_PT.shape, dtype=dtype, device=seen_PT.device).masked_fill(~seen_PT, -torch.inf)[
        :, None, None
    ]


def _stack(first_PKTD: Tensor, second_PKTD: Tensor, width: int) -> Tensor:
    """Both, one above the other, with zeros behind them up to `width` tokens."""
    return torch.cat([pad(part, (0, 0, 0, width - part.shape[2])) for part in (first_PKTD, second_PKTD)])


def _below(buffer_BKLD: Tensor, rows: int) -> Tensor:
    """The buffer with so many rows of zeros more."""
    return torch.cat([buffer_BKLD, buffer_BKLD.new_zeros(rows, *buffer_BKLD.shape[1:])])


def _with_block(buffer_BKLD: Tensor, length: int) -> Tensor:
    """The buffer with a block of places behind its first `length`."""
    rows, heads, _, width = buffer_BKLD.shape
    grown = buffer_BKLD.new_empty(rows, heads, length + BLOCK, width)
    grown[:, :, :length] = buffer_BKLD[:, :, :length]
    return grown
