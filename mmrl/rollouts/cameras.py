"""Which cameras a policy sees that is told none: those of its recorded data, by name, in simulators too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.policy import ChoosesCameras, Policy, Seeing, params_of
from mmrl.data.robot.statistics import inmost
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.schema import Recipe
from mmrl.recipe.simulators import SimulatorConfig


def settle_cameras(policy: Policy, datasets: Iterable[Any], simulators: Mapping[str, SimulatorConfig]) -> None:
    """Sets `policy.params.cameras`, where it is unset, to the names of the cameras of the recorded training data.

    By place alone, a wrist and a front camera that a file and a simulator list in another order would change places.

    Args:
        datasets: those of the training mixture.
        simulators: those of the recipe that are played, see `in_use`.

    Raises:
        ConfigError: recorded datasets, or a simulator that lists its cameras, lack one of these names.
    """
    params = params_of(policy)
    if not isinstance(params, ChoosesCameras) or not isinstance(policy, Seeing):
        return
    recorded = {rows.name: list(rows.cameras.values()) for rows in map(inmost, datasets) if hasattr(rows, "steps")}
    if not recorded:
        return
    first, names = next(iter(recorded.items()))
    names = params.cameras or names
    others = {f"dataset '{name}'": cameras for name, cameras in recorded.items()}
    others |= {f"simulators.{name}": cameras for name, cameras in _listed(simulators).items()}
    for place, cameras in others.items():
        if missing := [name for name in names if name not in cameras]:
            whose = "policy.params.cameras names" if params.cameras else f"the policy learns from dataset '{first}'"
            raise ConfigError(
                f"{whose} {', '.join(names)}, and {place} has {', '.join(cameras) or 'no camera'}, without "
                f"{', '.join(missing)}; give recorded cameras the simulator's names in the dataset's `cameras` "
                "({name in the file: name in the simulator}), or say in policy.params.cameras which of them it sees"
            )
    if not params.cameras:
        policy.take_cameras(names)


def in_use(recipe: Recipe) -> dict[str, SimulatorConfig]:
    """The simulators that training or held-out data of a recipe are played in."""
    sets = [dataset for part in recipe.apart() for dataset in (*part.data.train, *part.data.eval)]
    names = {dataset.simulator for dataset in sets if isinstance(dataset, EpisodeData)}
    return {name: simulator for name, simulator in recipe.simulators.items() if name in names}


def _listed(simulators: Mapping[str, SimulatorConfig]) -> dict[str, Sequence[str]]:
    """The cameras of the simulators that list theirs; others show all of a task's, which its first episode tells."""
    options = {name: simulator.value("cameras") for name, simulator in simulators.items()}
    return {name: cameras for name, cameras in options.items() if cameras is not None}
