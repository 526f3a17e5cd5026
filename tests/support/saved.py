"""Policies that are saved and opened again."""

import torch

from mmrl.policies.opening import load_policy
from mmrl.recipe.policies.registry import policy_settings
from tests.support.flow import load as load_flow


def opened(folder, family, **settings):
    """The policy of a folder, by the name of its family, on the CPU."""
    if family == "pi0":
        return load_flow(folder, family, awake=False, **settings)
    kind = "qwen_vl" if family.startswith("qwen") else family
    return load_policy(policy_settings(type=kind, path=str(folder), device="cpu", **settings))


def stirred(policy):
    """The policy after a little noise on all that it trains."""
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, parameter, _ in policy.trainable():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=g))
    return policy
