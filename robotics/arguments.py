"""Checks of what `reset` and `chunk_step` are given: every mistake is refused by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def as_ids(ids: Tensor | Sequence[int], count: int) -> Tensor:
    """`ids` as int64 [count] on the CPU. Raises ValueError unless there are `count` integers."""
    ids_B = _integers(ids)
    if ids_B is None or ids_B.shape != (count,):
        tensor = torch.as_tensor(ids)
        raise ValueError(f"ids: expected {count} integers, got shape {tuple(tensor.shape)} of {tensor.dtype}")
    return ids_B


def as_worlds(worlds: Tensor | Sequence[int] | None, num_envs: int) -> Tensor:
    """Indices of worlds as int64 [W] on the CPU; None is all of them.

    Raises ValueError unless they are different integers in 0 … num_envs - 1.
    """
    if worlds is None:
        return torch.arange(num_envs)
    worlds_W = _integers(worlds)
    within = worlds_W is not None and worlds_W.dim() == 1 and len(worlds_W) > 0
    if not within or worlds_W.min() < 0 or worlds_W.max() >= num_envs or len(worlds_W.unique()) < len(worlds_W):
        raise ValueError(f"worlds: expected different integers from 0 to {num_envs - 1}, got {worlds!r}")
    return worlds_W


def as_actions(what: str, actions: Tensor, num_envs: int, action_dim: int, low: float, high: float) -> Tensor:
    """Actions of a chunk as float32 [B, C, A] within [low, high].

    Raises ValueError, naming the simulator `what`, on another shape and on values that are not finite.
    """
    actions_BCA = torch.as_tensor(actions).to(torch.float32)
    shape = tuple(actions_BCA.shape)
    if len(shape) != 3 or shape[0] != num_envs or shape[1] < 1 or shape[2] != action_dim:
        raise ValueError(
            f"{what}: actions have shape {shape}; expected ({num_envs}, C, {action_dim}): "
            f"{num_envs} worlds, C >= 1 steps, {action_dim} action dims"
        )
    if not torch.isfinite(actions_BCA).all():
        raise ValueError(f"{what}: actions must be finite")
    return actions_BCA.clamp(low, high)


def _integers(values: Tensor | Sequence[int]) -> Tensor | None:
    tensor = torch.as_tensor(values).cpu()
    if tensor.dtype == torch.bool or tensor.is_floating_point() or tensor.is_complex():
        return None
    return tensor.to(torch.int64)
