"""Random numbers as a pure function of (key, counter): no state, so equal keys agree in any batch and any process."""

from __future__ import annotations

import torch
from torch import Tensor

# splitmix64's constants, as the signed 64-bit integers that torch has. Its int64 products wrap, as the hash needs.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def _shift_right(value: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask drops the copied sign bits.
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def splitmix64(value: Tensor) -> Tensor:
    """Hash of every int64 in `value`, same shape."""
    value = value + _GOLDEN
    value = (value ^ _shift_right(value, 30)) * _MIX_1
    value = (value ^ _shift_right(value, 27)) * _MIX_2
    return value ^ _shift_right(value, 31)


def world_keys(ids_B: Tensor, stream: Tensor | int) -> Tensor:
    """int64 [B] keys of worlds `ids_B` (int64 [B]). Another `stream` (integer or int64 [B]) gives unrelated keys."""
    return splitmix64(splitmix64(ids_B) ^ stream)


def uniform(keys_B: Tensor, counters_N: Tensor) -> Tensor:
    """float32 [B, N] in [0, 1): one number for each key (int64 [B]) and counter (int64 [N])."""
    hashed_BN = splitmix64(keys_B[:, None] + splitmix64(counters_N)[None, :])
    return _shift_right(hashed_BN, 40).to(torch.float32) * 2.0**-24
