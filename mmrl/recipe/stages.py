"""The shorthand of a recipe: one method, or defaults of every stage, at the top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.methods import list_stages
from mmrl.recipe.reading import STAGE_DEFAULTS, merge


def expand(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Turns the shorthand (`method`, `steps`, `optim`, … at the top) into stages.

    The top-level values are each stage's defaults. Without `stages`, a method that is itself a sequence
    (`sft_then_rl`) gives its stages, each with its share of `steps`; any other method gives one stage named after it.
    """
    result = {key: value for key, value in raw.items() if key not in STAGE_DEFAULTS}
    defaults = {key: raw[key] for key in STAGE_DEFAULTS if key in raw}
    stages = raw.get("stages")
    if stages is None:
        if "method" not in defaults:
            return result
        method = defaults["method"]
        total = defaults.get("steps")
        plan = list_stages(method)
        if plan and isinstance(total, int):
            counts = [max(1, round(total * share)) for _, _, share in plan[:-1]]
            counts.append(max(1, total - sum(counts)))
            stages = [{"name": n, "method": m, "steps": steps} for (n, m, _), steps in zip(plan, counts)]
        else:
            stages = [{"name": str(method)}]
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        raise ConfigError("stages: a list of mappings is needed, each with name, method and steps")
    result["stages"] = [merge(defaults, stage) for stage in stages]
    for stage in result["stages"]:
        stage.setdefault("name", stage.get("method"))
    return result
