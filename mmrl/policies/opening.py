"""A policy by the name that a recipe gives it."""

from __future__ import annotations

from pathlib import Path

from mmrl.contracts.policy import Policy
from mmrl.policies.digests import verify_model
from mmrl.policies.loading import PACKAGED, checkpoint_path, resolve_dtype
from mmrl.recipe.checks.policies import check_policy
from mmrl.recipe.policies.registry import attribute, entry_of
from mmrl.recipe.policy import PolicyConfig


def load_policy(config: PolicyConfig) -> Policy:
    """The policy that `config.type` names, loaded from `config.path`.

    Args:
        config: its family's settings, as a recipe or `policy_settings` gives them.

    Raises:
        ConfigError: an unknown name, or a frozen part that it does not have.
        CheckpointError: a checkpoint that is not there, not whole, or, where a run wrote it, not as it was written.
    """
    check_policy(config)
    entry = entry_of(config.type)
    if entry.trains and config.path not in PACKAGED and Path(config.path).expanduser().is_dir():
        verify_model(Path(checkpoint_path(config.path, config.type)))
    return attribute(entry.adapter).from_pretrained(resolve_dtype(config))
