"""Denoising steps of a flow-matching policy as pure functions.

Time runs from t = 1 (noise) to t = 0 (action): x_t = t eps + (1 - t) a, and the network predicts v = E[eps - a | x_t].
With K steps, step i goes from t_i = 1 - i/K to t_i - d, d = 1/K. v also says where the path started and will end:

    x0 = x - t v  (the action)        x1 = x + (1 - t) v  (the noise)

Every step is a Gaussian. Source: pi_RL, arXiv 2510.25889 (Flow-SDE, Flow-Noise); Flow-CPS, arXiv 2509.05952.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Transition:
    """The Gaussian of x after a step: mean and standard deviation, of shapes that broadcast; std 0 is deterministic."""

    mean: Tensor
    std: Tensor


def time_of(step: Tensor, steps: int) -> Tensor:
    """float32, the time that step `step` (int64, any shape) of `steps` starts at."""
    return 1.0 - step.float() / steps


def ode(x: Tensor, v: Tensor, t: Tensor, d: float) -> Transition:
    """Euler's step, x - d v: no noise."""
    return Transition(x - d * v, torch.zeros_like(t))


def flow_sde(x: Tensor, v: Tensor, t: Tensor, d: float, eta: float) -> Transition:
    """The SDE with the ODE's marginals: s = eta sqrt(t / (1 - t)), std = s sqrt(d).

    mean = x0 (1 - t + d) + x1 (t - d - s^2 d / (2 t)). At t = 1, where s has a pole, 1 - t is taken to be d.
    """
    variance = eta**2 * t / (1 - t).clamp(min=d)
    start, end = x - t * v, x + (1 - t) * v
    mean = start * (1 - t + d) + end * (t - d - variance * d / (2 * t))
    return Transition(mean, (variance * d).sqrt())


def flow_cps(x: Tensor, v: Tensor, t: Tensor, d: float, eta: float) -> Transition:
    """The part of the noise x1 that is left at t - d is turned by eta pi / 2 into fresh noise; the last step has none.

    mean = x0 (1 - t + d) + x1 (t - d) cos(eta pi / 2), std = (t - d) sin(eta pi / 2).
    """
    left = (t - d).clamp(min=0.0)
    start, end = x - t * v, x + (1 - t) * v
    mean = start * (1 - t + d) + end * left * math.cos(math.pi * eta / 2)
    return Transition(mean, left * math.sin(math.pi * eta / 2))


def flow_noise(x: Tensor, v: Tensor, t: Tensor, d: float, std: Tensor) -> Transition:
    """Euler's step with a learned deviation `std` of x's shape."""
    return Transition(x - d * v, std)


def log_density(x: Tensor, transition: Transition) -> Tensor:
    """log N(x; mean, std^2) of each element, 0 where the step is deterministic."""
    mean, std = torch.broadcast_tensors(transition.mean, transition.std)
    noisy = std > 0
    safe = torch.where(noisy, std, torch.ones_like(std))
    value = -0.5 * ((x - mean) / safe).square() - safe.log() - 0.5 * math.log(2 * math.pi)
    return torch.where(noisy, value, torch.zeros_like(value))


def noise_density(x: Tensor) -> Tensor:
    """log N(x; 0, 1) of each element: of the noise that a chain starts from."""
    return log_density(x, Transition(torch.zeros_like(x), torch.ones_like(x)))


def entropy(std: Tensor) -> Tensor:
    """0.5 log(2 pi e std^2) of each element in nats, 0 where the step is deterministic."""
    noisy = std > 0
    safe = torch.where(noisy, std, torch.ones_like(std))
    return torch.where(noisy, safe.log() + 0.5 * math.log(2 * math.pi * math.e), torch.zeros_like(std))
