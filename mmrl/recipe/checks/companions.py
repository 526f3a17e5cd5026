"""Companion policies fit the policy and the objectives that name them. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.contracts.errors import ConfigError, unknown
from mmrl.recipe.companions import REFERENCE, RESERVED, CompanionConfig
from mmrl.recipe.policies.registry import POLICIES, alternatives, entry_of
from mmrl.recipe.policy import PolicyConfig


def check_companions(companions: Mapping[str, CompanionConfig], stages: Sequence[Any], policy: PolicyConfig) -> None:
    """Every companion that a stage (`StageConfig`) names is there, and every one that is there is named.

    Raises:
        ConfigError: one is missing, is read by nothing, has a name with another meaning, or the policy's units cannot
            be scored by another checkpoint.
    """
    read: set[str] = set()
    for stage in stages:
        kl = stage.objective.kl
        if kl.to != REFERENCE and kl.weight == 0:
            raise ConfigError(
                f"stages.{stage.name}.objective.kl.to: '{kl.to}' is compared with at kl.weight 0; set kl.weight, or "
                "leave kl.to out"
            )
        for place, name in stage.objective.companions():
            read.add(name)
            if name not in companions:
                raise ConfigError(
                    f"stages.{stage.name}.objective.{place}: {unknown('companion', name, companions)}; give it a "
                    f"checkpoint: companions: {{{name}: {{path: …}}}}"
                )
    for name in companions:
        if name in RESERVED or not name.isidentifier():
            raise ConfigError(f"companions.{name}: give it another name, of letters and digits: teacher, base, …")
        if name not in read:
            raise ConfigError(f"companions.{name}: no stage reads it; set objective.kl.to: {name}, or leave it out")
    if companions and not entry_of(policy.type).companions:
        able = [name for name in POLICIES if entry_of(name).companions]
        raise ConfigError(
            f"companions: no other checkpoint can score the units of policy.type '{policy.type}'; set it to "
            f"{alternatives(able)}, or leave companions out"
        )
