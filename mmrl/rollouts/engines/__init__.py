"""Sampling engines by name. Adding one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmrl.errors import ConfigError, unknown

ENGINES = {"hf": "mmrl.rollouts.engines.hf:HFEngine"}


def make_engine(name: str, policy: Any, batch_size: int) -> Any:
    """The engine that a recipe names. Raises ConfigError on unknown names."""
    if name not in ENGINES:
        raise ConfigError(f"rollout.engine: {unknown('engine', name, ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    return getattr(import_module(module), attribute)(policy, batch_size)
