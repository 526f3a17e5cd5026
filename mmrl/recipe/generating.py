"""What a recipe says of the data that its policy makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt, SerializeAsAny, field_validator, model_validator

from mmrl.contracts.errors import ConfigError, unknown
from mmrl.recipe.base import Settings
from mmrl.recipe.reading import STAGE_DEFAULTS
from mmrl.recipe.selections import ContrastSettings, SelectionSettings, selection_settings

# What `method` says of a stage that generates.
GENERATE = "generate"
# Keys of a recipe that say how it trains.
TRAINED = ("stages", *STAGE_DEFAULTS)
# Keys of a stage that such a stage reads; the rest are of training.
READ = ("name", "method", "steps", "generate", "rollout", "data", "rewards", "engine", "round", "loops")


class GenerateConfig(Settings):
    """A data set that the policy makes: answers to `data.train`, or episodes, rewarded, profiled and selected."""

    select: list[SerializeAsAny[SelectionSettings]] = Field(
        [], description="rules, each applied to what the one before it left; none: everything"
    )
    write: Literal["answers", "prompts", "pairs", "questions"] = Field(
        "answers",
        description="answers: a row per answer, with it as the demonstration; prompts: a row per prompt, with the "
        "row's own, if any; pairs: a row per pair, with `chosen` and `rejected`; questions: a row per answer, which "
        "stands in place of the row's question",
    )
    log_probs: bool = Field(False, description="write each unit's log-prob, at the temperature of sampling")
    blind: bool = Field(False, description="ask without pictures and videos; what is written has them")
    shard: PositiveInt = Field(64, description="prompts per file of answers, which is there whole or not at all")
    videos: int = Field(0, ge=0, description="episodes, of those that the rules leave, that are filmed, the first ones")

    @field_validator("select", mode="before")
    @classmethod
    def _own_settings(cls, raw: Any) -> Any:
        return [selection_settings(rule) for rule in raw] if isinstance(raw, list) else raw

    @model_validator(mode="after")
    def _pairs_are_made(self) -> GenerateConfig:
        contrasts = any(isinstance(rule, ContrastSettings) or ":" in rule.name for rule in self.select)
        if self.write == "pairs" and not contrasts:
            raise ValueError("write: pairs needs a rule that makes them; add {name: contrast} to select")
        return self


def as_generating(raw: Mapping[str, Any], stage: str | None = None) -> dict[str, Any]:
    """A recipe's keys with one stage, which generates: its own section `generate`, or a stage's, or all defaults.

    Args:
        raw: as it is written, overrides applied.
        stage: the stage's name; None: the only one that generates.

    Raises:
        ConfigError: several stages generate and none is named, or there is none of this name.
    """
    # One process generates, however many train.
    left_out = {*TRAINED, "parallel"} - {"rollout", "generate"}
    rest = {key: value for key, value in raw.items() if key not in left_out}
    stages = raw.get("stages")
    if raw.get("generate") is not None or not isinstance(stages, list):
        return {**rest, "generate": raw.get("generate") or {}}
    making = {str(with_generating(each)["name"]): each for each in _generating_in(stages)}
    if stage is None and len(making) > 1:
        raise ConfigError(f"several stages of the recipe generate: {', '.join(making)}; choose one with --stage NAME")
    if stage is not None and stage not in making:
        raise ConfigError(f"--stage: {unknown('stage that generates', stage, making)}")
    if not making:
        return {**rest, "generate": {}}
    return {**rest, "stages": [making[stage or next(iter(making))]]}


def _generating_in(stages: Any) -> Iterator[Mapping[str, Any]]:
    """The stages that generate, of a list as it is written; those of rounds once."""
    for each in stages if isinstance(stages, list) else []:
        if not isinstance(each, Mapping):
            continue
        if "rounds" in each:
            yield from _generating_in(each.get("stages"))
        elif each.get("generate") is not None:
            # Alone, it is in no rounds that a figure may end.
            yield {key: value for key, value in each.items() if key != "loops"}


def with_generating(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's keys, of one that generates with what its kind implies: no method of training, and no steps of it."""
    if stage.get("generate") is None:
        return dict(stage)
    return {"name": GENERATE, **stage, "method": stage.get("method", GENERATE), "steps": stage.get("steps", 0)}
