"""Simulators that have too few worlds for what a stage asks."""

from __future__ import annotations

from collections.abc import Mapping

from mmrl.recipe.simulators import SimulatorConfig


def check_groups(pipelines: Mapping[str, int], simulators: Mapping[str, SimulatorConfig]) -> None:
    """Checks the stages' `rollout.pipeline`, stage to groups of worlds, without making a simulator.

    Raises:
        ValueError: stages differ, or a simulator is given fewer worlds than groups.
    """
    if len(set(pipelines.values())) > 1:
        listing = ", ".join(f"{stage}: {groups}" for stage, groups in pipelines.items())
        raise ValueError(
            f"rollout.pipeline differs from stage to stage ({listing}), and the worlds are grouped once for the whole "
            "run; give every stage the same number, or set it once, in the recipe's own rollout"
        )
    groups = next(iter(pipelines.values()))
    for name, config in simulators.items():
        worlds = config.value("num_envs")
        if worlds is not None and worlds < groups:
            raise ValueError(too_few_worlds(name, worlds, groups))


def too_few_worlds(name: str, worlds: int, groups: int) -> str:
    """What is wrong where a simulator has fewer worlds than groups."""
    return (
        f"simulators.{name}: {worlds} worlds cannot make {groups} groups; set num_envs to {groups} or more, or "
        f"rollout.pipeline to {worlds} or less"
    )
