"""Simulators by name. A new one is a file and a line here; the string keeps its imports out of `import robotics`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from robotics.base import VectorEnv
from robotics.options import read_options, unknown

SIMULATORS = {
    "tabletop": "robotics.tabletop:TabletopEnv",
}


def list_simulators() -> list[str]:
    """Names that `make` takes as `type`."""
    return sorted(SIMULATORS)


def make(config: Mapping[str, Any]) -> VectorEnv:
    """Build a simulator from `{"type": name, **options}`; the options of each are in docs/simulators.md.

    Raises ValueError on an unknown type, key or value (naming it, what is allowed and the nearest spelling) and
    ImportError where the simulator's package is not installed.
    """
    if "type" not in config:
        raise ValueError(f"simulator: key 'type' is missing; allowed: {', '.join(list_simulators())}")
    name = config["type"]
    if name not in list_simulators():
        raise unknown("simulator", "type", name, list_simulators())
    module_name, class_name = SIMULATORS[name].split(":")
    simulator = getattr(importlib.import_module(module_name), class_name)
    given = {key: value for key, value in config.items() if key != "type"}
    return simulator(**read_options(name, given, simulator.OPTIONS))
