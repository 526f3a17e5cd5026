"""Simulators by name. A new one is a file, a line here, and its settings in `robotics.settings`.

The strings keep their imports out of `import robotics`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from robotics.base import VectorEnv
from robotics.options import unknown
from robotics.settings import SETTINGS, SimulatorSettings

SIMULATORS = {
    "libero": "robotics.libero:LiberoEnv",
    "maniskill": "robotics.maniskill:ManiSkillEnv",
    "tabletop": "robotics.tabletop:TabletopEnv",
}


def list_simulators() -> list[str]:
    """Names that `make` takes as `type`."""
    return sorted(SIMULATORS)


def make(config: Mapping[str, Any]) -> VectorEnv:
    """Build a simulator from `{"type": name, **options}`; the options of each are in docs/simulators.md.

    The type may also be `module:class` of a `VectorEnv` of one's own, which brings its `SETTINGS`.

    Raises:
        ValueError: an unknown type, key or value (naming it, what is allowed and the nearest spelling), or assets or
            drivers that are missing (naming the cure).
        ImportError: the simulator's package is not installed.
    """
    return _simulator(_name(config)).build(_options(config))


def world_limit(config: Mapping[str, Any]) -> int | None:
    """How many worlds a caller should make of this configuration: `num_envs`, given or by default.

    None where worlds are cheap and it is not given: then as many as the caller needs. Raises ValueError as `make` does.
    """
    return _options(config)["num_envs"]


def start_count(config: Mapping[str, Any]) -> int | None:
    """How many different starts a configuration has (`VectorEnv.start_count`). Raises ValueError as `make` does."""
    return _simulator(_name(config)).start_count(_options(config))


def settings_of(name: str) -> SimulatorSettings:
    """What a simulator reads of its configuration. Those of this package are known without their imports.

    Raises:
        ValueError: an unknown name, or `module:class` of something else.
    """
    return SETTINGS[name] if name in SETTINGS else _simulator(name).SETTINGS


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    name = _name(config)
    return settings_of(name).read(name, {key: value for key, value in config.items() if key != "type"})


def _name(config: Mapping[str, Any]) -> str:
    if "type" not in config:
        raise ValueError(f"simulator: key 'type' is missing; allowed: {', '.join(list_simulators())}")
    return config["type"]


def _simulator(name: str) -> type[VectorEnv]:
    if name not in list_simulators() and ":" not in str(name):
        raise unknown("simulator", "type", name, list_simulators())
    module_name, class_name = SIMULATORS.get(name, name).split(":")
    simulator = getattr(importlib.import_module(module_name), class_name, None)
    if not (isinstance(simulator, type) and issubclass(simulator, VectorEnv)):
        raise ValueError(f"simulator: type={name!r} is not allowed; allowed: module:class of a VectorEnv")
    return simulator
