"""Recipes that a flow policy cannot follow. Imports nothing heavy: they are refused while the recipe is read."""

from __future__ import annotations

from typing import Any

from mmrl.objectives.methods import METHODS, resolve_objective
from mmrl.policies.flow.settings import FlowParams
from mmrl.policies.registry import FLOW


def check_stage(stage: Any, policy: Any) -> None:
    """Refuses what a stage asks of a policy: `StageConfig` and `PolicyConfig`.

    Raises:
        ValueError: a method of flow policies on another one or with another sampler, or a method that reads
            probabilities, which a density is not, on a flow policy.
    """
    where = f"stages.{stage.name}"
    wanted = METHODS[stage.method].params
    if policy.type not in FLOW:
        if wanted:
            raise ValueError(
                f"{where}: method '{stage.method}' needs a flow policy; set policy.type to one of "
                f"{', '.join(sorted(FLOW))}, or use another method"
            )
        return
    for key, value in wanted.items():
        given = policy.params.get(key, FlowParams.model_fields[key].default)
        if given != value:
            raise ValueError(
                f"{where}: method '{stage.method}' needs policy.params.{key}: {value}, and it is {given}; change one"
            )
    _check_objective(stage, resolve_objective(stage.method, stage.objective), where)


def _check_objective(stage: Any, objective: Any, where: str) -> None:
    for name, stream in objective.streams.items():
        allowed = ("one",) if name == "demo" else ("one", "ppo_clip", "cispo")
        kind = stream.coefficient.kind
        if kind not in allowed:
            why = "its demonstrations have a loss and no likelihood" if name == "demo" else "it reads probabilities"
            raise ValueError(
                f"{where}: objective.streams.{name}.coefficient.kind '{kind}' does not fit a flow policy, whose "
                f"actions have densities: {why}. Allowed: {', '.join(allowed)}"
            )
    if objective.inject is not None:
        raise ValueError(
            f"{where}: objective.inject rates demonstrations by their likelihood, which a flow policy does not have; "
            "use method co_train"
        )
    if stage.rollout.temperature not in (0.0, 1.0):
        raise ValueError(
            f"{where}: rollout.temperature {stage.rollout.temperature} has no effect on a flow policy, whose noise is "
            "policy.params.eta; leave it at 1"
        )
