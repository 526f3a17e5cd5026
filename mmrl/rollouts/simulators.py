"""The simulators of a recipe: made when they are needed, kept for the whole run, closed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import robotics
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.recipe.checks.simulators import too_few_worlds
from mmrl.recipe.simulators import SimulatorConfig
from mmrl.rollouts.pipeline import count_worlds


class Simulators:
    """The recipe's simulators, made on first use with `num_envs` worlds, or as many as needed where they are cheap.

    Args:
        configs: a recipe's, or mappings as `robotics.make` takes them, by their names.
        pipeline: groups of worlds that take turns; each is an object of its own, and they share `num_envs`.
        refusals: simulators whose scripted expert will be asked, to what is said where one has none
            (`mmrl.rollouts.experts`).
    """

    def __init__(
        self,
        configs: Mapping[str, SimulatorConfig | Mapping[str, Any]],
        pipeline: int = 1,
        refusals: Mapping[str, str] | None = None,
    ):
        self.configs = {
            name: config.as_given() if isinstance(config, SimulatorConfig) else config
            for name, config in configs.items()
        }
        self.pipeline, self.refusals = pipeline, refusals or {}
        self._made: dict[tuple[str, int, int], Any] = {}

    def get(self, name: str, worlds: int, lane: int = 0) -> Any:
        """The simulator `name`, best with `worlds` parallel worlds, for one of the groups, 0 to `pipeline` - 1.

        Raises:
            ConfigError: it cannot be made, has fewer worlds than there are groups, or lacks the expert that is asked.
            UserError: see `place_errors`.
        """
        config = self.configs[name]
        with place_errors(name):
            limit = robotics.world_limit(config)
            if limit is not None and limit < self.pipeline:
                raise ConfigError(too_few_worlds(name, limit, self.pipeline))
            worlds = worlds if limit is None else count_worlds(limit, lane, self.pipeline)
            if (name, worlds, lane) not in self._made:
                self._made[name, worlds, lane] = robotics.make({**config, "num_envs": worlds})
        env = self._made[name, worlds, lane]
        if name in self.refusals and not env.has_expert:
            raise ConfigError(self.refusals[name])
        return env

    def start_count(self, name: str) -> int | None:
        """How many different starts the simulator `name` has before ids repeat them; None: each id has its own.

        Raises ConfigError where its settings are wrong.
        """
        with place_errors(name):
            return robotics.start_count(self.configs[name])

    @property
    def dropped(self) -> int:
        """Episodes so far in which a simulator failed; each was played again from its start."""
        return sum(env.dropped_episodes for env in self._made.values())

    def close(self) -> None:
        """Release all simulators."""
        for env in self._made.values():
            env.close()
        self._made.clear()


@contextmanager
def place_errors(name: str | None) -> Iterator[None]:
    """Has what a simulator raises by its contract, in calls of it inside, name its place in the recipe, in one line.

    Raises:
        ConfigError: instead of ValueError and ImportError.
        UserError: instead of SimulatorError.
    """
    try:
        yield
    except (ValueError, ImportError) as error:
        raise ConfigError(_describe_error(name, error)) from error
    except robotics.SimulatorError as error:
        raise UserError(_describe_error(name, error)) from error


def _describe_error(name: str | None, error: Exception) -> str:
    return f"simulators.{name}: {' '.join(str(error).split())}"
