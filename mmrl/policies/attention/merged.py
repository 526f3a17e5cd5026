"""Segment attention on a CPU: what all descendants see of a segment in one call, and each segment its own past.

A softmax over several spans of keys is the mean of the softmaxes over each, weighted by their sums of exponentials;
backward, the whole softmax's log-sum-exp and output give each span's share of the gradient by itself (as in ring
attention, arXiv 2310.01889). No key is copied, none is repeated for grouped queries, and nothing is masked.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmrl.policies.attention.plan import SegmentPlan

# The kernel behind `scaled_dot_product_attention` on a CPU; it also gives the log-sum-exp, which that does not. Takes
# fewer key heads than query heads; float64 too.
fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query_1HTD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, plan: SegmentPlan, scale: float | None):
        # Sums over spans are kept in the precision of the log-sum-exp: float32, float64 for float64.
        wide = torch.float64 if query_1HTD.dtype == torch.float64 else torch.float32
        shape = query_1HTD.shape
        out_1HTD = torch.zeros(shape[0], shape[2], shape[1], shape[3], dtype=wide).transpose(1, 2)
        norm_1HT = torch.full(shape[:3], -torch.inf, dtype=wide)
        for queries, keys, causal in calls(plan):
            part, norm = fused(
                query_1HTD[:, :, queries], key_1KTD[:, :, keys], value_1KTD[:, :, keys], 0.0, causal, scale=scale
            )
            _add(out_1HTD[:, :, queries], norm_1HT[:, :, queries], part, norm)
        out_1HTD = out_1HTD.to(query_1HTD.dtype)
        ctx.save_for_backward(query_1HTD, key_1KTD, value_1KTD, out_1HTD, norm_1HT)
        ctx.plan, ctx.scale = plan, scale
        return out_1HTD

    @staticmethod
    @once_differentiable
    def backward(ctx, slope_1HTD: Tensor):
        query, key, value, out, norm = ctx.saved_tensors
        # A segment's gradients are sums over all that see it.
        wide = norm.dtype
        slopes = [torch.zeros_like(tensor, dtype=wide) for tensor in (query, key, value)]
        for queries, keys, causal in calls(ctx.plan):
            parts = _backward(
                slope_1HTD[:, :, queries],
                query[:, :, queries],
                key[:, :, keys],
                value[:, :, keys],
                out[:, :, queries],
                norm[:, :, queries],
                0.0,
                causal,
                scale=ctx.scale,
            )
            for slope, span, part in zip(slopes, (queries, keys, keys), parts):
                slope[:, :, span] += part
        return *(slope.to(query.dtype) for slope in slopes), None, None


def calls(plan: SegmentPlan) -> Iterator[tuple[slice, slice, bool]]:
    """(queries, keys, causal) of every call: a segment to itself, and all its descendants to it."""
    for segment in plan.segments:
        own = slice(segment.start, segment.end)
        if segment.end > segment.start:
            yield own, own, True
            if segment.reach > segment.end:
                yield slice(segment.end, segment.reach), own, False


def _add(out_1HTD: Tensor, norm_1HT: Tensor, part_1HTD: Tensor, part_norm_1HT: Tensor) -> None:
    """Adds a softmax over further keys, in place; a log-sum-exp of -inf says that there was none."""
    whole_1HT = torch.logaddexp(norm_1HT, part_norm_1HT)
    out_1HTD.mul_((norm_1HT - whole_1HT).exp_()[..., None])
    out_1HTD.addcmul_(part_1HTD.to(out_1HTD.dtype), (part_norm_1HT - whole_1HT).exp_()[..., None])
    norm_1HT.copy_(whole_1HT)


def attend(query_1HTD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, plan: SegmentPlan, scale: float | None) -> Tensor:
    """[1, H, T, D]: each of T tokens' attention over what its segment sees; H is a multiple of K."""
    return _Merged.apply(query_1HTD, key_1KTD, value_1KTD, plan, scale)
