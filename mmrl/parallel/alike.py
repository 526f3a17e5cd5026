"""Whether all processes are about the same thing: compared at the start, and once per step."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError, shortened
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Group, Sample
from mmrl.contracts.world import World
from mmrl.tracking.environment import package_versions
from mmrl.tracking.metrics import is_wall_clock

PACKAGES = ("mmrl", "vision_rewards", "robotics", "video")


def check_alike(world: World, what: str, facts: Callable[[], Mapping[str, Any]]) -> None:
    """Compares what every process holds to be so, where there are several.

    Args:
        what: as for `World.exchange`.
        facts: gives them, each by a name for the error.

    Raises:
        UserError: one differs from process 0; in all of them.
    """
    if world.size == 1:
        return
    first, *others = world.exchange(what, facts())
    for rank, theirs in enumerate(others, start=1):
        for name in {**first, **theirs}:
            # As text: NaN is like itself there.
            if (mine := repr(first.get(name))) != (other := repr(theirs.get(name))):
                line = (
                    f"{what}: process {rank} has another {name} than process 0: {shortened(other)}, {shortened(mine)}"
                )
                error = UserError(line)
                world.fail(error)
                raise error


def program_facts(recipe: str) -> dict[str, Any]:
    """The code, packages and recipe of this process.

    Args:
        recipe: its text.
    """
    packages = package_versions()
    return {
        "Python": platform.python_version(),
        **{f"version of {name}": version for name, version in packages.items()},
        "code of mmrl": _digest(_sources()),
        "recipe": _digest([recipe.encode()]),
    }


def material_facts(policy: Policy, datasets: Iterable[Sequence[Sample]]) -> dict[str, Any]:
    """The trained weights and the data of this process."""
    weights = [(name, tuple(p.shape), float(p.detach().double().sum())) for name, p, _ in policy.trainable()]
    return {
        "set of weights": _digest([repr(weights).encode()]),
        "number of rows in data.train": [len(rows) for rows in datasets],
    }


def step_facts(groups: Iterable[Group], metrics: Mapping[str, float]) -> dict[str, Any]:
    """What a step has sampled and come to."""
    return {
        "set of trajectories": _digest(_trajectories(groups)),
        **{name: value for name, value in metrics.items() if not is_wall_clock(name)},
    }


def _trajectories(groups: Iterable[Group]) -> Iterable[bytes]:
    for group in groups:
        yield group.sample.id.encode()
        for trajectory in group.trajectories:
            yield f"{trajectory.origin} {trajectory.reward} {trajectory.accuracy}".encode()
            for decision in trajectory.decisions:
                yield decision.tokens.detach().cpu().numpy().tobytes()


def _sources() -> Iterable[bytes]:
    top = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        for path in sorted((top / package).rglob("*.py")):
            yield str(path.relative_to(top)).encode()
            yield path.read_bytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
