"""Whether engine and trainer drift apart: each gap against the floor that the run's first steps had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmrl.contracts.errors import EngineError
from mmrl.recipe.health import GapPatience

PREFIX, LARGEST = "gap/", "_max"
# Nats. What rounding makes in float32 varies by more than the factor from step to step.
LEAST = 1e-5


class GapGate:
    """Counts, for each `gap/…` figure but maxima, the steps in a row in which it is far above its floor.

    The floor is the largest value of the figure's first `learn` steps, and at least `LEAST`.

    Args:
        say: takes the line that says that a figure has been there for `warn` steps.
    """

    def __init__(self, config: GapPatience, say: Callable[[str], None]):
        self.config, self._say = config, say
        self._floors: dict[str, float] = {}
        self._learnt: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Takes a step's figures. Raises EngineError where one has been above its floor for `stop` steps."""
        for name, gap in metrics.items():
            if not name.startswith(PREFIX) or name.endswith(LARGEST):
                continue
            learnt = self._learnt.get(name, 0)
            if learnt < self.config.learn:
                self._learnt[name] = learnt + 1
                self._floors[name] = max(self._floors.get(name, LEAST), gap)
                continue
            self._count(name, gap)

    def _count(self, name: str, gap: float) -> None:
        floor, config = self._floors[name], self.config
        # A gap that is no number is above every floor.
        count = self._counts[name] = 0 if gap <= config.times * floor else self._counts.get(name, 0) + 1
        line = (
            f"for {count} steps in a row {name} was above {config.times:g} times its floor of {floor:.2g} nats, the "
            f"last at {gap:.2g}: the engine samples from another distribution than the trainer scores"
        )
        if config.stop is not None and count >= config.stop:
            raise EngineError(f"{line}; health.gap.stop is {config.stop}")
        if count and count == config.warn:
            self._say(f"{line} (health.gap)")

    def state_dict(self) -> dict[str, Any]:
        """Floors and counts, for a checkpoint."""
        return {"floors": dict(self._floors), "learnt": dict(self._learnt), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state_dict` gave; nothing where an older version gave none."""
        self._floors |= {name: float(floor) for name, floor in state.get("floors", {}).items()}
        self._learnt |= {name: int(steps) for name, steps in state.get("learnt", {}).items()}
        self._counts |= {name: int(count) for name, count in state.get("counts", {}).items()}
