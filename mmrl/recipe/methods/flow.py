"""Policy gradients for flow policies: each stands for a way to sample the chain of denoising steps."""

from __future__ import annotations

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import PPO, RL

# The chunk is the unit: its log-probs add up to one ratio, and it has one value.
_PI_RL = {
    "streams": {"rl": {**RL, "coefficient": {**PPO, "level": "decision"}, "normalise": "decision"}},
    "advantage": {"baseline": "value", "scale": "batch_std", "gamma": 0.99, "lam": 0.95},
    "value": {"weight": 1.0, "clip": 0.2, "huber": 10.0},
}

FLOW: dict[str, Method] = {
    "pi_rl_sde": Method(
        source="pi_RL, arXiv 2510.25889, Flow-SDE: PPO on one noisy denoising step per decision",
        objective=_PI_RL,
        params={"sampler": "sde", "trained": "one"},
        notes="for flow policies with policy.value_head; policy.params: {sampler: sde, trained: one}",
    ),
    "pi_rl_noise": Method(
        source="pi_RL, arXiv 2510.25889, Flow-Noise: PPO on all denoising steps, with learned noise",
        objective={**_PI_RL, "entropy": 0.005},
        params={"sampler": "noise", "trained": "all"},
        notes="for flow policies with policy.value_head; policy.params: {sampler: noise, trained: all}. A log-prob is "
        "the mean over the K steps; RLinf counts the initial noise too and divides by K + 1, which "
        "policy.params.mean_over: chain does: log-ratios, gradient and entropy bonus are then K / (K + 1) of these",
    ),
}
