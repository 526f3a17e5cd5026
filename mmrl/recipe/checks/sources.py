"""Settings that no source of experience reads. Imports nothing heavy: recipes are refused while they are read.

What each source reads stands in its settings (`mmrl.recipe.rollout.READ_BY`, `mmrl.recipe.evaluation.READ_BY`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from mmrl.contracts.errors import ConfigError
from mmrl.recipe import evaluation, rollout
from mmrl.recipe.base import Settings
from mmrl.recipe.data import AnyData, DataConfig

WORDS = {"answers": "answers", "episodes": "episodes", "actions": "recorded actions"}


def check_sources(stages: Sequence[Any], held_out: evaluation.EvalConfig, data: DataConfig) -> None:
    """Every setting of the stages' rollouts and of the evaluation is read by some of the data.

    Data that a Python function gives, or that is passed from Python, may be of any kind.

    Raises:
        ConfigError: a setting that was changed is read by none.
    """
    trained = _kinds_of(data.train)
    # Benchmarks bring rows of their own.
    tested = None if held_out.benchmarks else _kinds_of(data.eval)
    if trained is not None:
        # Held-out episodes are played in the chunks and lanes of the stages.
        played = {"held-out episodes"} if tested is None or "episodes" in tested else set()
        for stage in stages:
            _check_read(f"stages.{stage.name}.rollout", stage.rollout, rollout.READ_BY, trained | played, "data.train")
    _check_greedy(held_out)
    if tested is not None:
        _check_read("evaluation", held_out, evaluation.READ_BY, tested, "data.eval")
        _check_read("evaluation.sampling", held_out.sampling, rollout.READ_BY, tested, "data.eval")


def _check_greedy(held_out: evaluation.EvalConfig) -> None:
    """The likeliest token is among all that are kept; only sparse-to-dense reading samples all the same."""
    if held_out.sampling.temperature > 0.0 or held_out.sparse_to_dense is not None:
        return
    for key in ("top_p", "top_k", "min_p"):
        value = getattr(held_out.sampling, key)
        if value != rollout.SamplingConfig.model_fields[key].default:
            raise ConfigError(
                f"evaluation.sampling.{key}: {value} has no effect, since evaluation.sampling.temperature 0 takes the "
                "likeliest token; leave it out, or set a temperature"
            )


def _kinds_of(sets: Sequence[AnyData]) -> set[str] | None:
    """What the datasets give (`DatasetConfig.gives`); None where that is not known."""
    kinds = {str(dataset.gives) for dataset in sets if dataset.gives is not None}
    return kinds if sets and all(dataset.gives is not None for dataset in sets) else None


def _check_read(
    place: str, settings: Settings, read_by: Mapping[str, type[Settings]], kinds: Collection[str], where: str
) -> None:
    owned = {key for model in read_by.values() for key in model.model_fields}
    read_keys = {key for kind in kinds for key in read_by.get(kind, Settings).model_fields}
    for key in type(settings).model_fields:
        if key in read_keys or key not in owned:
            continue
        value = getattr(settings, key)
        # Compared by value, not by what was set: a resolved recipe carries every default.
        if value == type(settings).model_fields[key].get_default():
            continue
        readers = [WORDS[kind] for kind, model in read_by.items() if key in model.model_fields and kind in WORDS]
        value_text = json.dumps(value, default=BaseModel.model_dump)
        raise ConfigError(
            f"{place}.{key}: {value_text} is read by {' and '.join(readers)} alone, and {where} holds "
            f"{' and '.join(WORDS[kind] for kind in sorted(kinds) if kind in WORDS)}; leave it out"
        )
