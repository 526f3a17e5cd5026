"""How segment attention is computed, by device and setting."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from mmrl.policies.attention import merged
from mmrl.policies.attention.plan import SegmentPlan

Kernel = Literal["merged", "paths", "products"]


def kernel_for(attention: str, device_type: str, dropout: float, alike: bool) -> Kernel:
    """What computes segment attention.

    - `merged`: CPU; see `mmrl.policies.attention.merged`.
    - `paths`: everywhere; torch's own choice of a fused kernel for each segment over the keys of its path.
    - `products`: as `paths`, in matrix products, which is what `eager` asks for.

    Args:
        attention: `policy.attention`.
        dropout: of the attention's weights.
        alike: whether keys and values have heads of one size.
    """
    if attention == "eager":
        return "products"
    return "merged" if device_type == "cpu" and dropout == 0 and alike else "paths"


def attend(
    kernel: Kernel, query_1HTD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, plan: SegmentPlan,
    scale: float | None, dropout: float,
) -> Tensor:  # fmt: skip
    """[1, H, T, D]: each of T tokens' attention over what its segment sees; H is a multiple of K."""
    if kernel == "merged":
        return merged.attend(query_1HTD, key_1KTD, value_1KTD, plan, scale)
    pieces = []
    for index, segment in enumerate(plan.segments):
        if segment.end == segment.start:
            continue
        arguments = (
            query_1HTD[:, :, segment.start : segment.end], key_1KTD, value_1KTD, plan.path(index), scale, dropout,
            kernel == "products",
        )  # fmt: skip
        # Kept for backward, the keys of a prompt would be copied for each answer: they are put together again.
        if torch.is_grad_enabled():
            pieces.append(checkpoint(_along, *arguments, use_reentrant=False, preserve_rng_state=dropout > 0))
        else:
            pieces.append(_along(*arguments))
    return torch.cat(pieces, 2)


def _along(
    query_1HSD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, path: tuple[tuple[int, int], ...],
    scale: float | None, dropout: float, products: bool,
) -> Tensor:  # fmt: skip
    """[1, H, S, D]: the last S places of a path over all of it."""
    keys, values = (
        torch.cat([x[:, :, start:end] for start, end in path], 2) if len(path) > 1 else x[:, :, slice(*path[0])]
        for x in (key_1KTD, value_1KTD)
    )
    with sdpa_kernel(SDPBackend.MATH) if products else nullcontext():
        return scaled_dot_product_attention(
            query_1HSD,
            keys,
            values,
            # Which keys a fused kernel leaves out is said by the shapes; only `products` writes it down as a mask.
            attn_mask=causal_lower_right(query_1HSD.shape[2], keys.shape[2]),
            dropout_p=dropout,
            scale=scale,
            enable_gqa=query_1HSD.shape[1] != keys.shape[1],
        )
