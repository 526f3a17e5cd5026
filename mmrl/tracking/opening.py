"""The first line that a run shows: what trains on what, where, and where it is written."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Sample
from mmrl.recipe.schema import Recipe


def opening_line(recipe: Recipe, policy: Policy, datasets: Sequence[Sequence[Sample]]) -> str:
    """Model, device, dtype, parameters, rows and folder of a run.

    Args:
        datasets: those that training draws from; ones without a name are called `data`.
    """
    trained = {name: parameter.numel() for name, parameter, _ in policy.trainable()}
    # A critic's head trains beside the module.
    of_all = {name: parameter.numel() for name, parameter in policy.module.named_parameters()} | trained
    rows = ", ".join(f"{getattr(data, 'name', 'data')} {len(data):,}" for data in datasets)
    return (
        f"{recipe.policy.type} '{recipe.policy.path}' on {policy.device} in {policy.config.dtype}; "
        f"{sum(trained.values()):,} of {sum(of_all.values()):,} parameters train; rows: {rows}; folder {recipe.folder}"
    )
