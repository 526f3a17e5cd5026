"""The rewards of a recipe."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

import vision_rewards
import vision_rewards.registry
from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.data import DataConfig, gives_of
from mmrl.recipe.registry import Registry
from mmrl.recipe.reward_forms import signature_of

# What stands behind a name is a class of vision_rewards, or a user's function in a form of `mmrl.recipe.reward_forms`.
REWARDS: Registry[Any] = Registry(
    "reward", {name: f"vision_rewards.rewards.{place}" for name, place in vision_rewards.registry.REWARDS.items()}
)


class RewardConfig(Settings):
    """One part of the reward."""

    name: str = Field("route", description="a name of `mmrl list reward`, or module:name of a function or reward class")
    weight: float = Field(1.0, ge=0.0, description="0 only measures")
    range: tuple[float, float] | None = Field(
        None, description="of a function's values, such as [0, 10], which becomes [0, 1]; null: they are rewards"
    )
    params: dict[str, Any] = Field({}, description="of the reward, or further keyword arguments of the function")

    @field_validator("range")
    @classmethod
    def _spans(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not (math.isfinite(value[1] - value[0]) and value[0] < value[1]):
            raise ValueError(f"[{value[0]:g}, {value[1]:g}] is no range; give the least and the greatest value")
        return value


def with_rewards(raw: Any) -> Any:
    """A recipe's keys with its rewards in them: where it names none, the one that goes by each sample's task, or none
    where nothing would call it."""
    if not isinstance(raw, Mapping) or raw.get("rewards") is not None:
        return raw
    data = raw.get("data", {})
    sets = {key: data.get(key) if isinstance(data, Mapping) else getattr(data, key, None) for key in ("train", "eval")}
    datasets = {key: rows if isinstance(rows, Sequence) else () for key, rows in sets.items()}
    kinds = kinds_of(datasets, raw.get("code") or {})
    return {**raw, "rewards": [] if kinds and not uses_rewards(kinds) else [RewardConfig()]}


def uses_rewards(kinds: Sequence[str | None]) -> bool:
    """Whether a recipe's rewards score some of the data that give these (`Dataset.gives`)."""
    return any(kind not in ("episodes", "actions") for kind in kinds)


def kinds_of(sets: Mapping[str, Sequence[Any]], passed: Collection[str]) -> list[str | None]:
    """What the datasets give, None where that is not known: of data from Python, which take the place of a section."""
    read = [each for key, rows in sets.items() if f"{key}_data" not in passed for each in rows]
    # What a stage generates is of the kind of its own data, which stand in the recipe too.
    known = [gives_of(each) for each in read if not (isinstance(each, Mapping) and each.get("type") == "generated")]
    return known + [None for key in sets if f"{key}_data" in passed]


def check_own(rewards: Sequence[RewardConfig], place: str = "rewards") -> None:
    """Each reward of one's own takes what it will be called with.

    Args:
        place: where they stand, for errors.

    Raises:
        ConfigError: otherwise, or no such module or function.
    """
    for i, config in enumerate(rewards):
        known = config.name in vision_rewards.registry.REWARDS
        part = None if known else REWARDS.get(config.name, f"{place}.{i}.name")
        if known or (isinstance(part, type) and issubclass(part, vision_rewards.Reward)):
            if config.range is not None:
                raise ConfigError(f"{place}.{i}.range: '{config.name}' gives scores in [0, 1]; leave it out")
            continue
        if not callable(part):
            raise ConfigError(
                f"{place}.{i}.name: '{config.name}' is no function and no reward class, but {type(part).__name__}"
            )
        signature_of(part, config.params, f"{place}.{i}", config.name)


def check_rewards(rewards: Sequence[RewardConfig], data: DataConfig, passed: Collection[str] = ()) -> None:
    """Something calls the rewards of a recipe, and one of them counts.

    Args:
        passed: what is given from Python in place of parts of the recipe (`train_data`, `eval_data`).

    Raises:
        ValueError: otherwise.
    """
    if not uses_rewards(kinds_of({"train": data.train, "eval": data.eval}, passed)):
        if rewards:
            raise ValueError(
                "rewards: nothing calls them: data.train and data.eval hold episodes and recorded actions alone, and a "
                "simulator rewards its episodes; leave the section out, or add data with questions"
            )
        return
    if not rewards:
        raise ValueError("rewards: at least one is needed, such as {name: route}; or leave the section out")
    if not any(reward.weight for reward in rewards):
        raise ValueError("rewards: every weight is 0, so nothing is rewarded; set one above 0")
