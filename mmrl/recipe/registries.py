"""Every registry by its kind: what `mmrl list` prints, and the groups `mmrl.<kind>` that packages extend."""

from __future__ import annotations

from typing import Any

from mmrl.contracts.errors import ConfigError, unknown
from mmrl.recipe.importing import import_named
from mmrl.recipe.registry import Registry

REGISTRIES = {
    "advantage": "mmrl.recipe.advantages:ADVANTAGES",
    "advantage_transform": "mmrl.recipe.advantage_transforms:ADVANTAGE_TRANSFORMS",
    "auxiliary_term": "mmrl.recipe.auxiliary_terms:AUXILIARY_TERMS",
    "benchmark": "mmrl.recipe.benchmarks:BENCHMARKS",
    "coefficient": "mmrl.recipe.coefficients:COEFFICIENTS",
    "context": "mmrl.recipe.contexts:CONTEXTS",
    "controller": "mmrl.recipe.controllers:CONTROLLERS",
    "engine": "mmrl.recipe.engines:ENGINES",
    "format": "mmrl.recipe.formats:FORMATS",
    "method": "mmrl.recipe.methods:METHODS",
    "policy": "mmrl.recipe.policies.registry:POLICIES",
    "reward_transform": "mmrl.recipe.reward_transforms:REWARD_TRANSFORMS",
    "reward": "mmrl.recipe.rewards:REWARDS",
    "sampler": "mmrl.recipe.samplers:SAMPLERS",
    "selection": "mmrl.recipe.selections:SELECTIONS",
    "simulator": "mmrl.recipe.simulators:SIMULATORS",
    "source": "mmrl.rollouts.sources:SOURCES",
    "sink": "mmrl.recipe.tracking:SINKS",
    "unit_weight": "mmrl.recipe.unit_weights:UNIT_WEIGHTS",
}


def registry_of(kind: str) -> Registry[Any]:
    """The registry of a kind. Raises ConfigError with the nearest spelling."""
    if kind not in REGISTRIES:
        raise ConfigError(unknown("kind", kind, REGISTRIES))
    return import_named(REGISTRIES[kind])
