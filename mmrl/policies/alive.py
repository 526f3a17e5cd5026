"""Whether a policy still computes: what it gives is finite; and if not, which of its weights are at fault."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mmrl.contracts.errors import DeadPolicy
from mmrl.contracts.policy import Policy


def refuse_dead(what: str, tensors: Iterable[Tensor | None]) -> None:
    """Raises DeadPolicy where one of the tensors holds a value that is not finite.

    Args:
        what: they are, for the message.
    """
    for tensor in tensors:
        if tensor is not None and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DeadPolicy(f"{what} are not finite")


def refuse_dead_weights(policy: Policy) -> None:
    """Raises DeadPolicy where a trained weight is not finite; one look at the device for all of them."""
    finite = [weight.detach().isfinite().all() for _, weight, _ in policy.trainable()]
    if finite and not bool(torch.stack([each.cpu() for each in finite]).all()):
        raise DeadPolicy("trained weights are not finite")


def first_dead_tensor(policy: Policy) -> str:
    """The first weight that is not finite; where all are, the one that holds the largest value."""
    largest, owner = 0.0, ""
    for name, weight in policy.module.named_parameters():
        values = weight.detach()
        broken = int(values.numel() - values.isfinite().sum())
        if broken:
            return f"the first tensor that is not is '{name}' ({broken} of {values.numel()} values)"
        size = float(values.abs().max()) if values.numel() else 0.0
        if size >= largest:
            largest, owner = size, name
    return f"every weight is finite, and the largest is {largest:.3g}, in '{owner}'"
