"""Sampling engines by name. Adding one is a module and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmrl.contracts.errors import ConfigError, unknown

ENGINES = {
    "hf": "mmrl.engines.hf:HFEngine",
    "frames": "mmrl.engines.frames:FrameEngine",
    "flow": "mmrl.engines.flow:FlowEngine",
}


def make_engine(name: str, policy: Any, batch_size: int) -> Any:
    """The engine that a recipe names, or the one that the policy names because nothing else can sample it.

    Raises:
        ConfigError: an unknown name.
    """
    name = getattr(policy, "engine", name)
    if name not in ENGINES:
        raise ConfigError(f"rollout.engine: {unknown('engine', name, ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    return getattr(import_module(module), attribute)(policy, batch_size)
