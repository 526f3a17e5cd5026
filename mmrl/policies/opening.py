"""A policy by the name that a recipe gives it."""

from __future__ import annotations

from typing import Any

from mmrl.recipe.checks.policies import check_policy
from mmrl.recipe.policies.registry import attribute, entry_of


def load_policy(config: Any) -> Any:
    """The policy that `config.type` names, loaded from `config.path`.

    Raises:
        ConfigError: an unknown name, or settings that this policy does not have.
    """
    check_policy(config)
    return attribute(entry_of(config.type).adapter).from_pretrained(config)
