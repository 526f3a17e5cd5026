"""Held-out data that is not held out. Imports nothing heavy: recipes are refused while they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.data import DataConfig, EpisodeData
from mmrl.recipe.simulators import SimulatorConfig


def check_held_out(
    data: DataConfig,
    simulators: Mapping[str, SimulatorConfig],
    start_count: Callable[[str], int | None] = lambda simulator: None,
) -> None:
    """Held-out episodes begin where no training episode does, in the same simulator or an equal one.

    Args:
        start_count: how many different starts a simulator has before ids repeat them, which the simulator itself knows;
            None: each id has its own.

    Raises:
        ConfigError: some begin where training does too, and the set is not marked `seen`; or a held-out set is to give
            the policy its statistics.
    """
    for i, held_out in enumerate(data.eval):
        if not isinstance(held_out, EpisodeData):
            continue
        if held_out.statistics is not None:
            raise ConfigError(f"data.eval.{i}.statistics: held-out episodes give no statistics; set it in data.train")
        for j, train in enumerate(data.train):
            if not held_out.seen and isinstance(train, EpisodeData) and _have_equal_starts(held_out, train, simulators):
                shared_ids = _describe_shared_ids(held_out, train, start_count(held_out.simulator))
                if shared_ids is not None:
                    raise ConfigError(
                        f"data.eval.{i}: starts {shared_ids} are also trained on (data.train.{j}); keep them out of "
                        "training, or set seen: true where the figure is meant to be of starts that training plays"
                    )


def _describe_shared_ids(held_out: EpisodeData, train: EpisodeData, count: int | None) -> str | None:
    """The held-out ids that begin as training ids do, in words; None where there are none."""
    if count is None:
        both: Sequence[int] = range(max(held_out.first, train.first), min(_ids_of(held_out).stop, _ids_of(train).stop))
        return f"{both[0]} to {both[-1]} of simulator '{held_out.simulator}'" if both else None
    trained = {i % count for i in _ids_of(train)}
    both = [i for i in _ids_of(held_out) if i % count in trained]
    if not both:
        return None
    return (
        f"{both[0]} to {both[-1]} of simulator '{held_out.simulator}', which has {count} starts and then repeats them,"
    )


def _have_equal_starts(first: EpisodeData, second: EpisodeData, simulators: Mapping[str, SimulatorConfig]) -> bool:
    """Whether equal ids of the two are equal starts: one simulator, or two that differ in their number of worlds."""
    worlds = [simulators[data.simulator].model_dump(exclude={"num_envs"}) for data in (first, second)]
    return worlds[0] == worlds[1]


def _ids_of(data: EpisodeData) -> range:
    return range(data.first, data.first + min(data.size, data.limit or data.size))
