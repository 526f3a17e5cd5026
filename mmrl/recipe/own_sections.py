"""Sections of a recipe that a stage may have of its own. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrl.recipe.base import Settings
from mmrl.recipe.engines import with_engine
from mmrl.recipe.reading import STAGE_SECTIONS, merge
from mmrl.recipe.rewards import with_rewards

# What of `policy` a stage may set.
TRAINS = ("freeze", "lora")


class StageCheckpoint(Settings):
    """What of `checkpoint` a stage may set."""

    best: str | None = None


def _with_what_trains(own: Mapping[str, Any], base: Any) -> dict[str, Any]:
    inherited = {key: base[key] for key in TRAINS if key in base} if isinstance(base, Mapping) else {}
    return merge({"freeze": [], "lora": None, **inherited}, own)


def with_own_sections(stage: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's keys with each section that it has of its own whole: merged over the recipe's, key by key.

    Lists are replaced. A stage of other data than the recipe's, neither of which names rewards, has the default of its
    own data.

    Args:
        raw: the recipe's keys.
    """
    result = dict(stage)
    for key in STAGE_SECTIONS:
        own, base = stage.get(key), raw.get(key)
        if own is None:
            result.pop(key, None)
        elif key == "policy" and isinstance(own, Mapping):
            result[key] = _with_what_trains(own, base)
        elif key != "checkpoint" and isinstance(own, Mapping) and isinstance(base, Mapping):
            result[key] = merge(base, own)
    if isinstance(result.get("engine"), Mapping):
        named = with_engine({"policy": raw.get("policy"), "engine": result["engine"]})
        result["engine"] = named["engine"]
    if isinstance(result.get("data"), Mapping) and not result.get("rewards") and raw.get("rewards") is None:
        defaults = with_rewards({"data": result["data"], "rewards": result.get("rewards")})["rewards"]
        result["rewards"] = [reward.model_dump() for reward in defaults]
    return result
