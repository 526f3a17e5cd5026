"""Segment attention as transformers' models call it: one function for all families, registered by its name.

The language model's layers call it in place of `policy.attention`. It reads the plan among the arguments that a
model's forward hands down to its layers, so that gradient checkpointing computes with the same plan again. A call
without a plan (sampling) goes to the attention that it stands for. Vision towers keep their own.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import ConfigError
from mmrl.policies.attention.kernels import attend, kernel_for
from mmrl.policies.attention.plan import SegmentPlan
from mmrl.policies.compat import ensure_torchvision

ensure_torchvision()
from transformers import AttentionInterface, AttentionMaskInterface  # noqa: E402
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS  # noqa: E402
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # noqa: E402

# What `policy.attention` may be; transformers knows segment attention by one name over each.
BASES = ("sdpa", "eager", "flash_attention_2")
_NAME = "segments_over_{}"
# What an attention may ask for that segments do not do, as transformers' layers name it.
UNSERVED = ("sliding_window", "softcap", "s_aux", "position_bias", "cache")

_renamed: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def use_segments(model: Any, attention: str) -> None:
    """Puts segment attention under the language model's layers.

    Args:
        model: a transformers model.
        attention: `policy.attention`, which serves calls without a plan.

    Raises:
        ConfigError: it has layers that segment attention does not serve.
    """
    decoder = model.get_decoder()
    kinds = sorted({*(getattr(decoder.config, "layer_types", None) or ())} - {"full_attention"})
    if kinds:
        raise ConfigError(f"policy.packing: 'group' does not fit layers of {', '.join(kinds)}; set it to 'row'")
    if not decoder._can_set_attn_implementation():
        raise ConfigError(
            f"policy.packing: 'group' does not fit {type(decoder).__name__}, whose attention is not chosen through "
            "transformers' AttentionInterface; set it to 'row'"
        )
    decoder.set_attn_implementation(_NAME.format(attention))


def no_mask(device: torch.device) -> Tensor:
    """The mask that goes with a plan: empty, with the four dimensions of a ready one.

    So transformers builds none, and an attention that is not told of the plan fails on it.
    """
    return torch.empty(0, 0, 0, 0, device=device)


def _attention(
    base: str, module: nn.Module, query_BHTD: Tensor, key_BKTD: Tensor, value_BKTD: Tensor,
    attention_mask: Tensor | None, dropout: float = 0.0, scaling: float | None = None,
    segments: SegmentPlan | None = None, **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Transformers' attention: [B, T, H, D] and no weights."""
    if segments is None:
        plain, owner = _plain(base, module)
        return plain(
            owner, query_BHTD, key_BKTD, value_BKTD, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    unserved = [name for name in UNSERVED if kwargs.get(name) is not None]
    if unserved:
        raise ConfigError(
            f"policy.packing: 'group' does not fit {type(module).__name__} with {', '.join(unserved)}; set it to 'row'"
        )
    tokens = segments.length
    if (len(query_BHTD), query_BHTD.shape[2], key_BKTD.shape[2]) != (1, tokens, tokens):
        raise ValueError(f"a plan of {tokens} tokens for {len(query_BHTD)} rows of {query_BHTD.shape[2]}")
    query, key, value = _lowered(query_BHTD, key_BKTD, value_BKTD)
    kernel = kernel_for(base, query.device.type, dropout, key.shape[-1] == value.shape[-1])
    return attend(kernel, query, key, value, segments, scaling, dropout).transpose(1, 2).contiguous(), None


def _lowered(*tensors: Tensor) -> list[Tensor]:
    """As autocast hands them to `scaled_dot_product_attention`."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device) or tensors[0].dtype == torch.float64:
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors]


def _plain(base: str, module: nn.Module) -> tuple[Callable[..., tuple[Tensor, Tensor | None]], nn.Module]:
    """Transformers' own function, and the module as that reads it."""
    if base == "eager":
        # Each family has its own, beside its layers.
        return sys.modules[type(module).__module__].eager_attention_forward, module
    if "flash" in base:
        # It looks up its kernel by the name in the module's config.
        if module not in _renamed:
            _renamed[module] = copy.copy(module)
            _renamed[module].config = copy.copy(module.config)
            _renamed[module].config._attn_implementation_internal = base
        module = _renamed[module]
    return ALL_ATTENTION_FUNCTIONS[base], module


for _base in BASES:
    AttentionInterface.register(_NAME.format(_base), partial(_attention, _base))
    AttentionMaskInterface.register(_NAME.format(_base), ALL_MASK_ATTENTION_FUNCTIONS[_base])
