"""Simulators behind one contract: `make(config)` gives a `VectorEnv` of parallel worlds (docs/simulators.md)."""

from robotics.base import SimulatorError, VectorEnv
from robotics.registry import list_simulators, make, settings_of, start_count, world_limit
from robotics.types import Observation, StepResult

__all__ = [
    "Observation",
    "SimulatorError",
    "StepResult",
    "VectorEnv",
    "list_simulators",
    "make",
    "settings_of",
    "start_count",
    "world_limit",
]
