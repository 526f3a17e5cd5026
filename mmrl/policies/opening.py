"""A policy by the name that a recipe gives it."""

from __future__ import annotations

from mmrl.contracts.policy import Policy
from mmrl.policies.loading import resolve_dtype
from mmrl.recipe.checks.policies import check_policy
from mmrl.recipe.policies.registry import attribute, entry_of
from mmrl.recipe.policy import PolicyConfig


def load_policy(config: PolicyConfig) -> Policy:
    """The policy that `config.type` names, loaded from `config.path`.

    Args:
        config: its family's settings, as a recipe or `policy_settings` gives them.

    Raises:
        ConfigError: an unknown name, or a frozen part that it does not have.
        CheckpointError: a checkpoint that is not there, or not whole.
    """
    check_policy(config)
    return attribute(entry_of(config.type).adapter).from_pretrained(resolve_dtype(config))
