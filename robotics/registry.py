"""Simulators by name. A new one is a file and a line here; the string keeps its imports out of `import robotics`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from robotics.base import VectorEnv
from robotics.options import read_options, unknown

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

    Raises:
        ValueError: an unknown type, key or value (naming it, what is allowed and the nearest spelling), or assets or
            drivers that are missing (naming the cure).
        ImportError: the simulator's package is not installed.
    """
    name, simulator = _find(config)
    given = {key: value for key, value in config.items() if key != "type"}
    return simulator.build(read_options(name, given, simulator.OPTIONS))


def world_limit(config: Mapping[str, Any]) -> int | None:
    """How many worlds a caller should make of this configuration: `num_envs`, given or by default.

    None where it is not given and worlds are cheap (`VectorEnv.elastic`): then as many as the caller needs. Raises
    ValueError as `make` does.
    """
    name, simulator = _find(config)
    if "num_envs" not in config and simulator.elastic:
        return None
    given = {key: value for key, value in config.items() if key != "type"}
    return read_options(name, given, simulator.OPTIONS)["num_envs"]


def start_count(config: Mapping[str, Any]) -> int | None:
    """How many different starts a configuration has (`VectorEnv.start_count`). Raises ValueError as `make` does."""
    name, simulator = _find(config)
    given = {key: value for key, value in config.items() if key != "type"}
    return simulator.start_count(read_options(name, given, simulator.OPTIONS))


def _find(config: Mapping[str, Any]) -> tuple[str, type[VectorEnv]]:
    if "type" not in config:
        raise ValueError(f"simulator: key 'type' is missing; allowed: {', '.join(list_simulators())}")
    name = config["type"]
    if name not in list_simulators():
        raise unknown("simulator", "type", name, list_simulators())
    module_name, class_name = SIMULATORS[name].split(":")
    return name, getattr(importlib.import_module(module_name), class_name)
