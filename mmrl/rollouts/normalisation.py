"""Which normalisation statistics a run's policy follows, where they come from, and how they are recorded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.policy import ChoosesStatistics, Normalising, Policy, params_of
from mmrl.data.episodes import Episodes
from mmrl.data.mixture import open_dataset
from mmrl.data.robot.statistics import (
    CLIPPED_QUIETLY,
    clipped_share,
    far_outside,
    keeper_of,
    recorded_actions,
    share_statistics,
)
from mmrl.policies.statistics import choose
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.schema import Recipe
from mmrl.recipe.simulators import SimulatorConfig
from mmrl.rollouts.episodes import refuse_deltas
from mmrl.rollouts.expert_statistics import expert_statistics
from mmrl.rollouts.simulators import Simulators

logger = logging.getLogger(__name__)


def settle_statistics(
    policy: Policy, datasets: Iterable[Any], simulators: Mapping[str, SimulatorConfig]
) -> dict[str, Any]:
    """Gives a policy the statistics of its training data, and says which of all it has hold.

    Those of recorded actions, and of the scripted expert's where a dataset of episodes asks for them (`statistics`),
    are computed, and saved with every checkpoint of the policy. What the policy already has by a dataset's name stays.

    Args:
        datasets: those of the training mixture.
        simulators: the recipe's; the expert's episodes are played in worlds that are closed again.

    Returns:
        For environment.json: `action_statistics`, name -> {"from": "checkpoint", "dataset" or "expert", and the
        statistics}, of every dataset that has some and of those in use; `statistics_in_use`, the name of the latter,
        where the policy normalises; `clipped_actions`, recorded dataset -> share of its values that a policy which
        clips cannot represent. Empty for a policy that does not act. A large share, and commands far outside of what
        simulators take, are warned of in one line each.

    Raises:
        UserError: two datasets of one name, or an expert whose episodes all fail.
        ConfigError: statistics that the policy cannot use, none that it could choose, or no expert.
    """
    datasets = list(datasets)
    statistics = share_statistics(policy, datasets)
    recorded = _recorded(datasets)
    if simulators:
        for line in filter(None, (far_outside(actions_NA, name) for name, actions_NA in recorded.items())):
            logger.warning(line)
    for rows in filter(None, map(_asking, datasets)):
        if rows.name in statistics:
            raise UserError(f"data.train: two datasets with statistics are called '{rows.name}'; give each a `name`")
        keeper = keeper_of(policy, rows.name)
        known = rows.name in keeper.statistics
        if not known:
            refuse_deltas(policy)
            keeper.set_statistics(rows.name, _of_expert(rows, simulators))
        statistics[rows.name] = {"from": "checkpoint" if known else "expert", **keeper.statistics[rows.name]}
    settings = params_of(policy)
    if not (isinstance(policy, Normalising) and isinstance(settings, ChoosesStatistics)):
        return {"action_statistics": statistics} if statistics else {}
    name = choose(policy.statistics, settings.statistics)
    statistics.setdefault(name, {"from": "checkpoint", **policy.statistics[name]})
    facts = {"action_statistics": statistics, "statistics_in_use": name}
    clipped = _clipped(recorded, policy.statistics[name], name) if entry_of(policy.config.type).clips else {}
    return facts | ({"clipped_actions": clipped} if clipped else {})


def _recorded(datasets: Iterable[Any]) -> dict[str, np.ndarray]:
    """Dataset -> its recorded actions float32 [N, A], of those that have some."""
    named = {getattr(rows, "name", ""): recorded_actions(rows) for rows in datasets}
    return {name: actions_NA for name, actions_NA in named.items() if actions_NA is not None and len(actions_NA)}


def _clipped(recorded: Mapping[str, np.ndarray], entry: Mapping[str, Any], followed: str) -> dict[str, float]:
    bounds = entry.get("action", {})
    if not {"q01", "q99"} <= bounds.keys():
        # The policy refuses such statistics, in words of its own, when it first needs them.
        return {}
    size = len(bounds["q01"])
    shares = {
        name: clipped_share(actions_NA, entry) for name, actions_NA in recorded.items() if actions_NA.shape[1] == size
    }
    for name, share in shares.items():
        if share > CLIPPED_QUIETLY:
            logger.warning(
                f"dataset '{name}': {share:.0%} of its action values lie outside q01 to q99 of the statistics "
                f"'{followed}', to which the policy clips them; for statistics of all steps set the dataset's "
                "statistics to steps, and for its own give policy.params.statistics its name"
            )
    return shares


def complete_statistics(policy: Policy, recipe: Recipe) -> None:
    """Gives a recipe's own policy the statistics that its settings choose, as training would, if it lacks them.

    Training data are opened only then. Raises as `settle_statistics` does.
    """
    settings = params_of(policy)
    if not (isinstance(policy, Normalising) and isinstance(settings, ChoosesStatistics)):
        return
    try:
        choose(policy.statistics, settings.statistics)
    except ConfigError:
        settle_statistics(policy, map(open_dataset, recipe.data.train), recipe.simulators)


def _asking(rows: Sequence[Any]) -> Episodes | None:
    """The episodes among a dataset's wrappers, where they are to give statistics."""
    while not isinstance(rows, Episodes) and hasattr(rows, "rows"):
        rows = rows.rows
    return rows if isinstance(rows, Episodes) and rows.config.statistics else None


def _of_expert(rows: Episodes, simulators: Mapping[str, SimulatorConfig]) -> dict[str, Any]:
    if rows.config.statistics is None:
        raise ValueError(f"dataset '{rows.name}' asks for no statistics")
    samples = [rows[i] for i in range(rows.config.statistics)]
    with closing(Simulators(simulators)) as worlds:
        env = worlds.get(rows.config.simulator, len(samples))
        if not env.has_expert:
            raise ConfigError(
                f"data.train: statistics of '{rows.name}' need a scripted expert, and "
                f"simulators.{rows.config.simulator} has none; leave `statistics` out, and train on recorded "
                "demonstrations, which have their own"
            )
        return expert_statistics(env, samples)
