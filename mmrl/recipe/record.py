"""A recipe as a run records it: every setting, the code behind `module:name`, and what was passed from Python."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import vision_rewards
from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.code import Code, code_of, data_of
from mmrl.recipe.data import FileData, PythonData
from mmrl.recipe.importing import import_attribute, import_named
from mmrl.recipe.parts import Part, PartSettings
from mmrl.recipe.reward_forms import signature_of
from mmrl.recipe.rewards import REWARDS, RewardConfig
from mmrl.recipe.schema import FROM_PYTHON, Recipe
from mmrl.recipe.training import StageConfig

logger = logging.getLogger(__name__)

# What `mmrl.train` and `mmrl.evaluate` take instead of a recipe's own parts.
PASSED = ("train_data", "eval_data", "reward")


def passed_code(passed: Mapping[str, Any]) -> dict[str, Code]:
    """The code of what was passed from Python, by the names in `PASSED`."""
    return {name: code_of(part) if name == "reward" else data_of(part) for name, part in passed.items()}


def record(recipe: Recipe, passed: Mapping[str, Any] | None = None, needed: Sequence[str] = PASSED) -> Recipe:
    """The recipe with its rewards' defaults and with `code`, where every part of it that is code came from.

    What differs from the code that the recipe already records, as a run's config.yaml does, is warned of in one line.

    Args:
        passed: what is given from Python, by the names in `PASSED`.
        needed: those of `PASSED` that are about to be used.

    Raises:
        ConfigError: a part cannot be imported, or was passed from Python when the recipe was recorded and is not now.
    """
    now = passed_code(passed or {})
    for name in needed:
        if name in recipe.code and name not in now:
            call = "mmrl.evaluate" if "train_data" not in needed else "mmrl.train"
            raise ConfigError(
                f"code.{name}: {recipe.code[name]} came from Python when this recipe was recorded; pass it again: "
                f"{call}(…, {name}=…)"
            )
    drawn = any(not part.data.train for part in recipe.apart())
    if "train_data" in needed and drawn and "train_data" not in now:
        raise ConfigError(f"data.train: a dataset is needed; {FROM_PYTHON}")
    passed_before = {name: code for name, code in recipe.code.items() if name in PASSED}
    now = passed_before | now | {place: code_of(part) for place, part in _named_parts(recipe, now)}
    for place, code in now.items():
        for line in _describe_differences(place, recipe.code.get(place), code):
            logger.warning(line)
    stages = [_with_reward_defaults(stage, f"stages.{i}.") for i, stage in enumerate(recipe.stages)]
    return _with_reward_defaults(recipe, "").model_copy(update={"stages": stages, "code": now})


def _named_parts(recipe: Recipe, passed: Mapping[str, Code]) -> Iterator[tuple[str, Any]]:
    """(place, its code) of everything that the recipe names by `module:name` and that is not replaced from Python."""
    for place, name in _part_names(recipe, passed):
        if ":" in name:
            # The line that refuses a function of data names the function alone.
            part = import_attribute(name) if place.endswith(".function") else import_named(name, place)
            yield place, _code_behind(part)


def _part_names(recipe: Recipe, passed: Mapping[str, Code]) -> Iterator[tuple[str, str]]:
    """(place, name) of each part that may be code of one's own."""
    yield "policy.type", recipe.policy.type
    for name, simulator in recipe.simulators.items():
        yield f"simulators.{name}.type", simulator.type
    yield from _section_names("", recipe, {key for key in ("train", "eval") if f"{key}_data" in passed})
    for i, stage in enumerate(recipe.stages):
        if stage.rollout.context is not None:
            yield f"stages.{i}.rollout.context.name", stage.rollout.context.name
        yield from _part_kinds(f"stages.{i}.objective", stage.objective)
        yield from _section_names(f"stages.{i}.", stage)
    for i, sink in enumerate(recipe.tracking.sinks):
        yield f"tracking.sinks.{i}", sink


def _section_names(at: str, holder: Recipe | StageConfig, replaced: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """(place, name) of each part in the sections that a recipe has, or one of its stages.

    Args:
        at: put in front of places.
        replaced: the parts of `data` that are given from Python: `train`, `eval`.
    """
    if holder.engine is not None:
        yield f"{at}engine.name", holder.engine.name
    for i, reward in enumerate(holder.rewards or ()):
        yield f"{at}rewards.{i}.name", reward.name
    for i, benchmark in enumerate(holder.evaluation.benchmarks if holder.evaluation is not None else ()):
        yield f"{at}evaluation.benchmarks.{i}.name", benchmark.name
    if holder.data is None:
        return
    yield f"{at}data.sampler.name", holder.data.sampler.name
    for key, datasets in (("train", holder.data.train), ("eval", holder.data.eval)):
        for i, data in enumerate(datasets if key not in replaced else ()):
            if isinstance(data, PythonData):
                yield f"{at}data.{key}.{i}.function", data.function
            if isinstance(data, FileData):
                yield f"{at}data.{key}.{i}.format", data.format


def _part_kinds(place: str, node: Any) -> Iterator[tuple[str, str]]:
    """(place, kind) of every part in an objective."""
    if isinstance(node, PartSettings):
        yield f"{place}.kind", node.kind
    if isinstance(node, Settings):
        node = {name: getattr(node, name) for name in type(node).model_fields}
    inner = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in inner:
        yield from _part_kinds(f"{place}.{key}", value)


def _code_behind(part: Any) -> Any:
    """What runs, where a name stands for settings or an entry that say what does."""
    if isinstance(part, Part):
        return part.load()
    adapter = getattr(part, "adapter", None)
    return import_named(adapter) if isinstance(adapter, str) else part


def _describe_differences(place: str, recorded: Code | None, now: Code) -> Iterator[str]:
    if recorded is None:
        return
    if (recorded.module, recorded.name) != (now.module, now.name):
        yield f"{place}: {now} stands where {recorded} stood when this recipe was recorded"
    elif recorded.source != now.source:
        yield f"{place}: the source of {now.module} has changed since this recipe was recorded"
    if recorded.rows != now.rows:
        yield f"{place}: {now.rows} rows, and there were {recorded.rows} when this recipe was recorded"
    elif recorded.sample != now.sample:
        yield f"{place}: its rows differ from those that it had when this recipe was recorded"


Rewarding = TypeVar("Rewarding", Recipe, StageConfig)


def _with_reward_defaults(holder: Rewarding, at: str) -> Rewarding:
    """The recipe or stage with every parameter that its rewards were not given at its default."""
    if holder.rewards is None:
        return holder
    rewards = [_with_defaults(config, f"{at}rewards.{i}") for i, config in enumerate(holder.rewards)]
    return holder.model_copy(update={"rewards": rewards})


def _with_defaults(config: RewardConfig, place: str) -> RewardConfig:
    part = REWARDS.get(config.name, f"{place}.name")
    if isinstance(part, type) and issubclass(part, vision_rewards.Reward):
        defaults = {name: param.default for name, param in part.spec().params.items()}
    elif callable(part):
        settings = signature_of(part, config.params, place, config.name).settings or {}
        defaults = {name: value for name, value in settings.items() if _is_writable(value)}
    else:
        defaults = {}
    return config.model_copy(update={"params": defaults | config.params})


def _is_writable(value: Any) -> bool:
    """Whether YAML can hold it; another default, such as a function, is known by the digest of the source."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_writable(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_writable, value))
    return value is None or type(value) in (bool, int, float, str)
