"""Sampling engines. Adding one is a module here, and a settings model with its line in `mmrl.recipe.engines`."""

from __future__ import annotations

from mmrl.contracts.engine import Engine
from mmrl.contracts.policy import Policy
from mmrl.contracts.world import ALONE, World
from mmrl.engines.watched import WatchedEngine
from mmrl.parallel.engine import DealtEngine
from mmrl.recipe.engines import EngineSettings
from mmrl.recipe.importing import import_attribute


def open_engine(settings: EngineSettings, policy: Policy, world: World = ALONE) -> Engine:
    """The engine of these settings, started on a policy, and watched (`mmrl.engines.watched`).

    Several processes share its requests (`mmrl.parallel.engine`).
    """
    engine = WatchedEngine(import_attribute(settings.adapter)(settings))
    engine.start(policy, world)
    return engine if world.size == 1 else DealtEngine(engine, world)
