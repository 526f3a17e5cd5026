"""Signs, step after step, that a run learns nothing more; which checkpoint is from before; and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import DeadPolicy
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Group, Trajectory
from mmrl.policies.alive import first_dead_tensor
from mmrl.recipe.health import HealthConfig
from mmrl.recipe.training import StageConfig

# In the order in which they are said.
SIGNS = {
    "skipped": "every update was left out, for its gradient was not finite",
    "no_gradient": "the gradient was 0",
    "no_variance": "all that was sampled had the same reward",
    "one_token": "all that was sampled was one and the same token",
}


@dataclass
class Proven:
    """Which checkpoint is healthy for certain: its weights have given finite figures since.

    Attributes:
        saved: the name of the newest one.
        healthy: that of the newest one that is known to be healthy; rotation keeps it.
    """

    saved: str | None = None
    healthy: str | None = None

    def prove(self) -> None:
        """Notes that the weights of the newest one have given finite figures."""
        self.healthy = self.saved


def explain(error: DeadPolicy, policy: Policy, step: int, stage: str, checkpoint: Path | None) -> DeadPolicy:
    """The error with its place, the tensor at fault and how to go on, in one line.

    Args:
        step: steps taken.
        checkpoint: the last healthy one; None: there is none.
    """
    tensor = "" if error.sign else f"; {first_dead_tensor(policy)}"
    other = f" or another health.{error.sign}.stop" if error.sign else ""
    if checkpoint is not None:
        cure = (
            f"the last healthy checkpoint is '{checkpoint}': go on with resume={checkpoint} and a lower optim.lr{other}"
        )
    elif step:
        cure = f"no checkpoint is known to be healthy: begin again under another name, with a lower optim.lr{other}"
    else:
        cure = f"policy.path '{policy.config.path}' is so before the first step: take another checkpoint"
    return DeadPolicy(f"after step {step}, stage {stage}: {error}{tensor}; {cure}", error.sign)


class Health:
    """Counts the steps in a row that show each sign.

    Args:
        say: takes the line that says that a sign has lasted.

    Attributes:
        alarmed: whether a sign has lasted so long that it was said.
    """

    def __init__(self, config: HealthConfig, say: Callable[[str], None]):
        self.config, self._say = config, say
        self.counts = dict.fromkeys(SIGNS, 0)

    @property
    def alarmed(self) -> bool:
        """See the class."""
        return any(
            (limit := getattr(self.config, sign).warn) is not None and count >= limit
            for sign, count in self.counts.items()
        )

    def observe(self, stage: StageConfig, metrics: Mapping[str, float], sampled: Sequence[Group], broken: str) -> None:
        """Counts a step.

        Args:
            broken: the tensor whose gradient was not finite, if one was not.

        Raises:
            DeadPolicy: a sign has lasted as long as it may.
        """
        shown = signs_of(stage, metrics, sampled)
        for sign in SIGNS:
            patience = getattr(self.config, sign)
            count = self.counts[sign] = self.counts[sign] + 1 if sign in shown else 0
            line = f"for {count} steps in a row {SIGNS[sign]}"
            line += f" (that of '{broken}' first)" if sign == "skipped" and broken else ""
            if count and count == patience.stop:
                raise DeadPolicy(f"{line}, and health.{sign}.stop is {patience.stop}", sign)
            if count and count == patience.warn:
                after = f"after {patience.stop} the run stops (" if patience.stop else "("
                self._say(f"{line}; {after}health.{sign})")

    def state_dict(self) -> dict[str, int]:
        """The counts, for a checkpoint."""
        return dict(self.counts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state_dict` gave; nothing where an older version gave none."""
        self.counts |= {sign: int(state[sign]) for sign in SIGNS if sign in state}


def signs_of(stage: StageConfig, metrics: Mapping[str, float], sampled: Sequence[Group]) -> set[str]:
    """The signs that a step shows."""
    trajectories = [trajectory for group in sampled for trajectory in group.trajectories]
    learns_from_rewards = stage.objective.rollouts and stage.objective.relabel is None
    # A task that is solved has neither a gradient nor a variance, and is no fault of the policy.
    solved = bool(trajectories) and all(map(_is_right, trajectories))
    shown = {
        "skipped": metrics.get("optim/skipped") == stage.minibatches * stage.epochs,
        "no_gradient": metrics.get("optim/grad_norm") == 0.0 and not solved,
        "no_variance": learns_from_rewards
        and not solved
        and len(trajectories) > 1
        and trajectories[0].reward is not None
        and len({trajectory.reward for trajectory in trajectories}) == 1,
        "one_token": len(trajectories) > 1 and _one_token(sampled),
    }
    return {sign for sign, is_shown in shown.items() if is_shown}


def _is_right(trajectory: Trajectory) -> bool:
    return (trajectory.reward if trajectory.accuracy is None else trajectory.accuracy) == 1.0


def _one_token(sampled: Sequence[Group]) -> bool:
    first: int | None = None
    for group in sampled:
        for trajectory in group.trajectories:
            for decision in trajectory.decisions:
                if decision.tokens.is_floating_point():
                    return False
                for token in decision.tokens.tolist():
                    first = token if first is None else first
                    if token != first:
                        return False
    return first is not None
