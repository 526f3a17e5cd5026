"""Stages whose optimizer steps cannot all hold their streams. Imports nothing heavy: recipes are refused when read."""

from __future__ import annotations

from typing import Any

from mmrl.objectives.settings import Objective


def check_minibatches(stage: Any, objective: Objective) -> None:
    """Every optimizer step of a stage (`StageConfig`) has its share of what the stage draws.

    A stream weighs the same in each step that holds it, however few trajectories it has there, so that one which is
    missing from some steps would weigh too little over the whole batch. RLinf-Co draws new demonstrations for every
    optimizer step; here those of a step of training are dealt to its optimizer steps.

    Raises:
        ValueError: some would lack a stream.
    """
    count, where = stage.minibatches, f"stages.{stage.name}"
    for key, drawn in (("prompts", objective.rollouts), ("demonstrations", objective.demonstrations)):
        if drawn and count > getattr(stage, key):
            raise ValueError(
                f"{where}: minibatches {count} exceeds {key} {getattr(stage, key)}, and each optimizer step takes its "
                f"share of them; raise {key}, or lower minibatches"
            )
    if count == 1 or len(objective.streams) == 1:
        return
    if objective.gate is not None and not all(stream.per_prompt for stream in objective.streams.values()):
        raise ValueError(
            f"{where}: with minibatches {count} a gate may give fewer demonstrations than optimizer steps, and they "
            "would weigh too little; set per_prompt: true in both of objective.streams, or minibatches to 1"
        )
    if objective.filter is not None and count > stage.rollout.n:
        raise ValueError(
            f"{where}: minibatches {count} exceeds rollout.n {stage.rollout.n}, and a filter may keep a single group, "
            "which would miss from some optimizer steps beside the demonstrations; raise n, or lower minibatches"
        )
