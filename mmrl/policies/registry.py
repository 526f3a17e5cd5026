"""Policies by name. Adding one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmrl.errors import ConfigError, unknown

POLICIES = {"qwen_vl": "mmrl.policies.qwen_vl:QwenVL"}


def load_policy(config: Any) -> Any:
    """The policy that `config.type` names, loaded from `config.path`. Raises ConfigError on unknown names."""
    if config.type not in POLICIES:
        raise ConfigError(f"policy.type: {unknown('policy', config.type, POLICIES)}")
    module, _, name = POLICIES[config.type].partition(":")
    return getattr(import_module(module), name).from_pretrained(config)
