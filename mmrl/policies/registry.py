"""Policies by name. Adding one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmrl.errors import ConfigError, unknown

POLICIES = {
    "qwen_vl": "mmrl.policies.qwen_vl:QwenVL",
    "frame_selector": "mmrl.policies.frame_selector:FrameSelector",
    "openvla": "mmrl.policies.openvla.policy:OpenVLA",
    "openvla_oft": "mmrl.policies.openvla.oft:OpenVLAOFT",
    "pi0": "mmrl.policies.pi0.policy:Pi0",
    "pi05": "mmrl.policies.pi0.pi05_policy:Pi05",
}
# Policies whose actions are cut into policy.action_bins; the others' checkpoints say how they act.
BINNED = frozenset({"qwen_vl"})
# Policies whose actions have densities, not probabilities.
FLOW = frozenset({"pi0", "pi05"})


def load_policy(config: Any) -> Any:
    """The policy that `config.type` names, loaded from `config.path`.

    Raises:
        ConfigError: an unknown name, or settings that this policy does not have.
    """
    if config.type not in POLICIES:
        raise ConfigError(f"policy.type: {unknown('policy', config.type, POLICIES)}")
    module, _, name = POLICIES[config.type].partition(":")
    adapter = getattr(import_module(module), name)
    for part in config.freeze:
        if part not in adapter.freezable:
            raise ConfigError(f"policy.freeze: {unknown(f'part of {config.type}', part, adapter.freezable)}")
    if config.params and not hasattr(adapter, "params_model"):
        raise ConfigError(f"policy.params: {config.type} has none; remove {', '.join(config.params)}")
    return adapter.from_pretrained(config)
