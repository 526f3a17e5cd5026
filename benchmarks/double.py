"""Comparisons in float64 of models that compute parts of themselves in float32."""

from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode


class Float64(TorchFunctionMode):
    """Inside, casts to float32 give float64.

    transformers' models compute norms, rotary angles and softmax in float32 whatever the weights are, which would
    hide in its rounding what a float64 comparison is to show.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        swap = {torch.float32: torch.float64}
        args = tuple(swap.get(a, a) if isinstance(a, torch.dtype) else a for a in args)
        kwargs = {k: swap.get(v, v) if isinstance(v, torch.dtype) else v for k, v in (kwargs or {}).items()}
        return function(*args, **kwargs)
