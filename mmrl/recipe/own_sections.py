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


def _with_sources(own: Mapping[str, Any], base: Any) -> Mapping[str, Any]:
    """A stage's data, and where all that it trains on was generated, the recipe's training data too."""
    train = own.get("train")
    if not isinstance(train, list) or not isinstance(base, Mapping) or not isinstance(base.get("train"), list):
        return own
    generated = all(isinstance(each, Mapping) and each.get("type") == "generated" for each in train)
    return {**own, "train": [*train, *base["train"]]} if generated else own


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
        defaults = with_rewards({"data": _with_sources(result["data"], raw.get("data"))})["rewards"]
        result["rewards"] = [reward.model_dump() for reward in defaults]
    return result
