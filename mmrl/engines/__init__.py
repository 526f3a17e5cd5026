"""Sampling engines by name. Adding one is a module, a settings model and a line in `mmrl.recipe.engines`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmrl.contracts.engine import Engine
from mmrl.contracts.errors import ConfigError, unknown
from mmrl.contracts.world import ALONE
from mmrl.recipe.engines import ENGINES, EngineSettings


def make_engine(name: str, policy: Any, batch_size: int) -> Engine:
    """The engine that a recipe names, or the one that the policy names because nothing else can sample it, started.

    Raises:
        ConfigError: an unknown name.
    """
    name = getattr(policy, "engine", name)
    if name not in ENGINES:
        raise ConfigError(f"rollout.engine: {unknown('engine', name, ENGINES)}")
    return open_engine(_attribute(ENGINES[name])(batch_size=batch_size), policy)


def open_engine(settings: EngineSettings, policy: Any) -> Engine:
    """The engine of these settings, started."""
    engine = _attribute(settings.adapter)(settings)
    engine.start(policy, ALONE)
    return engine


def _attribute(source: str) -> Any:
    module, _, name = source.partition(":")
    return getattr(import_module(module), name)
