"""Recipes whose data cannot give what a stage draws. Imports nothing heavy: recipes are refused while they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.recipe.budgets import IMAGE_BOUNDS, VIDEO_BOUNDS
from mmrl.recipe.data import (
    AnyData,
    DataConfig,
    DatasetConfig,
    DigitsData,
    EpisodeData,
    JigsawData,
    PythonData,
    RobotData,
    VideoDigitsData,
)
from mmrl.recipe.policy import PolicyConfig, Sighted
from mmrl.recipe.reward_transforms import REWARD_TRANSFORMS
from mmrl.recipe.simulators import SimulatorConfig

Bounds = tuple[tuple[str, str], ...]
BOUNDS: dict[str, Bounds] = {"image": IMAGE_BOUNDS, "video": VIDEO_BOUNDS}
# Keys of a dataset that are read in one part of `data` alone, and why not in the other.
UNREAD: dict[str, dict[str, str]] = {
    "train": {
        "control": "it keeps a held-out set out of the mean, and this one is trained on",
        "seen": "it marks held-out starts that training plays too, and these are trained on",
    },
    "eval": {
        "weight": "a held-out set is read whole, each row once",
        "use": "a held-out set is read whole; only training draws by it",
        "expert_noise": "it is of the demonstrations that training draws",
    },
}
# Budgets that no row of a type can need.
NO_BUDGET: tuple[tuple[type[DatasetConfig], str, str], ...] = (
    (DigitsData, "video", "holds pictures alone"),
    (JigsawData, "video", "asks about pictures alone, frames too"),
    (VideoDigitsData, "image", "holds videos alone"),
    (EpisodeData, "video", "shows pictures alone"),
    (RobotData, "video", "gives pictures alone"),
)


def check_read(data: DataConfig) -> None:
    """Every key of a dataset is read in the part of `data` where it stands, and by data of its type.

    Raises:
        ValueError: a key that was changed is not.
    """
    for part, sets in (("train", data.train), ("eval", data.eval)):
        for i, dataset in enumerate(sets):
            for key, reason in UNREAD[part].items():
                field = type(dataset).model_fields.get(key)
                # By value: a resolved recipe carries every default.
                if field is not None and getattr(dataset, key) != field.get_default():
                    value = json.dumps(getattr(dataset, key))
                    other = "train" if part == "eval" else "eval"
                    raise ValueError(
                        f"data.{part}.{i}.{key}: {value} is not read here: {reason}; leave it out "
                        f"(data.{other} reads it)"
                    )
            for kind, budget, reason in NO_BUDGET:
                if isinstance(dataset, kind) and budget in dataset.budgets:
                    place = f"data.{part}.{i}.{budget}"
                    raise ValueError(f"{place}: is not read: type '{dataset.type}' {reason}; leave it out")


def check_rewarded(stage: Any, train: Sequence[AnyData]) -> None:
    """Demonstrations that a stage weighs by what they earned carry rewards.

    Raises:
        ValueError: those of a training set do not.
    """
    if stage.objective.offline is None:
        return
    for i, data in enumerate(train):
        whole = isinstance(data, EpisodeData) or (isinstance(data, RobotData) and data.draw == "episodes")
        if data.use != "rollouts" and not whole:
            cure = "set draw: episodes" if isinstance(data, RobotData) else "set use: rollouts, or leave it out"
            raise ValueError(
                f"stages.{stage.name}: method '{stage.method}' weighs demonstrations by what they earned, and those of "
                f"data.train.{i} (type '{data.type}') carry no rewards; {cure}"
            )


def check_recorded(
    data: DataConfig, policy: PolicyConfig, stages: Sequence[Any], simulators: Mapping[str, SimulatorConfig]
) -> None:
    """Recorded actions fit the policy (`PolicyConfig`), the stages (`StageConfig`) that draw them and the simulators.

    Raises:
        ValueError: they are held out, shorter or longer than a stage's decisions, or mean something else to the
            simulators.
    """
    from mmrl.recipe.checks.recorded import check_simulated
    from mmrl.recipe.policies.registry import entry_of

    for i, dataset in enumerate(data.eval):
        if dataset.gives == "actions":
            raise ValueError(f"data.eval.{i}: recorded actions are no test of a policy; give data of type episodes")
    for i, dataset in enumerate(data.train):
        if not isinstance(dataset, RobotData):
            continue
        check_simulated(f"data.train.{i}", dataset, simulators)
        for stage in stages:
            objective, executed = stage.objective, stage.rollout.action_chunk
            longer = entry_of(policy.type).horizon and dataset.draw == "steps"
            if objective.demonstrations and (dataset.chunk < executed or (dataset.chunk > executed and not longer)):
                cure = "it at least" if longer else "both the same number:"
                raise ValueError(
                    f"data.train.{i}.chunk {dataset.chunk} differs from rollout.action_chunk {executed} of stage "
                    f"'{stage.name}'; give {cure} {executed}"
                )


def check_episodes(stage: Any, train: Sequence[AnyData]) -> None:
    """A stage that asks a simulator's expert has episodes, and what limits answers is not asked of episodes.

    Raises:
        ValueError: otherwise.
    """
    objective, where = stage.objective, f"stages.{stage.name}"
    if not any(isinstance(dataset, EpisodeData) for dataset in train):
        # Rows from Python may name a simulator.
        own = not train or any(isinstance(dataset, PythonData) for dataset in train)
        if objective.relabel is not None and not own:
            raise ValueError(
                f"{where}: relabelling asks a simulator's expert, and data.train has no data of type episodes; add "
                "some, or use another method (sft)"
            )
        return
    if objective.relabel is not None and stage.rollout.action_chunk != 1:
        raise ValueError(
            f"{where}: relabelling asks the expert in every state, so rollout.action_chunk must be 1, not "
            f"{stage.rollout.action_chunk}"
        )
    for name, transform in objective.reward_transforms.items():
        if REWARD_TRANSFORMS.get(transform.kind).answers_only:
            raise ValueError(
                f"{where}: objective.reward_transforms.{name} limits answers, not episodes; set it to null"
            )
    for name, stream in objective.streams.items():
        if stream.normalise in ("constant", "sum") and stream.max_units is None:
            key = f"objective.streams.{name}.max_units"
            raise ValueError(f"{where}: {key} is needed for episodes: steps x action_dim of the longest one")


def check_budgets(data: DataConfig, policy: PolicyConfig) -> None:
    """Every dataset's own pixel and frame budgets fit those of the policy (`PolicyConfig`), which they override.

    The cache of decoded videos is that of a policy which reads some.

    Raises:
        ValueError: the lower bound of one is above the upper bound of the other, or the policy reads no such budget.
    """
    if data.cache is not None and not isinstance(policy, Sighted):
        raise ValueError(f"data.cache: policy.type '{policy.type}' reads no videos; leave it out")
    for key, sets in (("train", data.train), ("eval", data.eval)):
        for i, dataset in enumerate(sets):
            for kind, own in dataset.budgets.items():
                place, base = f"data.{key}.{i}.{kind}", getattr(policy, kind, None)
                if base is None:
                    raise ValueError(f"{place}: policy.type '{policy.type}' does not read it; leave it out")
                try:
                    base.merged(own)
                except ValueError as error:
                    contradiction = _describe_contradiction(place, own, f"policy.{kind}", base, BOUNDS[kind])
                    raise ValueError(contradiction or f"{place}: {error}") from None


def _describe_contradiction(place: str, own: Mapping[str, Any], other: str, base: Any, bounds: Bounds) -> str | None:
    """Which bounds contradict each other, and what is allowed."""
    for low, high in bounds:
        least, most = getattr(base, low), getattr(base, high)
        if low in own and most is not None and own[low] > most and high not in own:
            return (
                f"{place}.{low} {own[low]} is above {other}.{high} {most}; allowed: at most {most}, or set "
                f"{place}.{high} too"
            )
        if high in own and least is not None and own[high] < least and low not in own:
            return (
                f"{place}.{high} {own[high]} is below {other}.{low} {least}; allowed: at least {least}, or set "
                f"{place}.{low} too"
            )
    return None
