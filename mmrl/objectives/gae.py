"""Generalised advantage estimation over one episode."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gae(
    rewards_T: Sequence[float], values_T: Tensor, bootstrap: float, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Advantages and value targets (GAE, arXiv 1506.02438, eq. 16).

        delta_t = r_t + gamma V_{t+1} - V_t,    A_t = delta_t + gamma lam A_{t+1},    target_t = A_t + V_t

    Args:
        rewards_T: reward after each step.
        values_T: V of the state before each step, [T].
        bootstrap: V of the state after the last step: 0 where the episode terminated, the critic's estimate where a
            time limit cut it off.

    Returns:
        (advantages [T], targets [T]) in float64.
    """
    values = values_T.double()
    advantages = torch.zeros_like(values)
    following, next_value = 0.0, float(bootstrap)
    for t in reversed(range(len(rewards_T))):
        delta = float(rewards_T[t]) + gamma * next_value - float(values[t])
        following = delta + gamma * lam * following
        advantages[t], next_value = following, float(values[t])
    return advantages, advantages + values
