"""Benchmarks of episodes: the embedded simulator, ManiSkill's tasks, and LIBERO's suites as they are published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Scored
from mmrl.contracts.types import Sample
from mmrl.data.episodes import Episodes
from mmrl.evaluation.figures import by_column, figures_of, means
from mmrl.recipe.data import EpisodeData

RENDERED = "none: they are rendered"
SUCCESS = "share of episodes in success at any step"


class EpisodeBenchmark:
    """Episodes from given starts; `score` is the share that ends in success.

    Attributes:
        simulators: one simulator's settings, under its name.
        first, starts: the ids of the starts.
        tasks: of a simulator of several tasks, how many; the starts go through them in turn; 1: there is but one.
    """

    about: ClassVar[str]
    facts: ClassVar[Facts]
    limit = 64
    simulators: ClassVar[Mapping[str, Mapping[str, Any]]]
    first: ClassVar[int] = 0
    starts: ClassVar[int]
    tasks: ClassVar[int] = 1

    def rows(self, root: str | None) -> Sequence[Sample]:
        """See `Benchmark.rows`; `root` is not read."""
        (name,) = self.simulators
        return Episodes(EpisodeData(type="episodes", simulator=name, first=self.first, size=self.starts))

    def score(self, completion: str, sample: Sample) -> float:
        """Raises ValueError: the simulator scores its episodes."""
        raise ValueError("episodes are scored by their simulator")

    def gold(self, sample: Sample) -> str | None:
        """None: no text is right."""
        return None

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """The mean over all starts, and over those of each task where there are several."""
        columns = [{"task": self.task_of(answer.sample)} for answer in scored]
        tasks = by_column(columns, "task") if self.tasks > 1 else {}
        return {"score": means([], len(scored)), **{f"task/{name}": weights for name, weights in tasks.items()}}

    def task_of(self, sample: Sample) -> str:
        """The number of a start's task, as the simulator counts them."""
        return f"{sample.episode % self.tasks:02d}"

    def cluster(self, sample: Sample) -> str:
        """Every start is its own."""
        return sample.id

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Shares of episodes in success at any step."""
        return figures_of(scored, self.weights(scored))

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See `Described.protocol`."""
        return {"extractor": "simulator", "metric": "success_once"}


class TabletopReach(EpisodeBenchmark):
    """Reach the block of the named colour within eight steps, of two blocks on a table seen from above."""

    about = "reach the named one of two blocks in the embedded simulator"
    first, starts = 1_000_000, 512
    facts = Facts(
        source="the simulator that ships with mmrl",
        split="starts 1000000 to 1000511",
        size=512,
        metric=SUCCESS,
        licence="Apache-2.0 (mmrl)",
        media=RENDERED,
    )
    simulators: ClassVar = {
        "tabletop": {
            "type": "tabletop",
            "tasks": ["reach"],
            "num_blocks": 2,
            "image_size": 28,
            "max_steps": 8,
            "reward": "dense",
        }
    }


def _maniskill(task: str) -> Facts:
    return Facts(
        source=f"ManiSkill 3, {task}",
        split="starts 0 to 127",
        size=128,
        metric=SUCCESS,
        licence="Apache-2.0 (ManiSkill)",
        media=RENDERED,
    )


class PushCube(EpisodeBenchmark):
    """ManiSkill's PushCube-v1."""

    about = "push the cube onto the target, in ManiSkill"
    starts = 128
    facts = _maniskill("PushCube-v1")
    simulators: ClassVar = {"maniskill": {"type": "maniskill", "task": "PushCube-v1"}}


class PickCube(EpisodeBenchmark):
    """ManiSkill's PickCube-v1."""

    about = "pick up the cube and hold it at the goal, in ManiSkill"
    starts = 128
    facts = _maniskill("PickCube-v1")
    simulators: ClassVar = {"maniskill": {"type": "maniskill", "task": "PickCube-v1"}}


class StackCube(EpisodeBenchmark):
    """ManiSkill's StackCube-v1."""

    about = "stack the red cube on the green one, in ManiSkill"
    starts = 128
    facts = _maniskill("StackCube-v1")
    simulators: ClassVar = {"maniskill": {"type": "maniskill", "task": "StackCube-v1"}}


def _libero(suite: str, tasks: int) -> Facts:
    return Facts(
        source=f"LIBERO, suite {suite}",
        split=f"{tasks} tasks, their 50 recorded starts each",
        size=50 * tasks,
        metric=f"{SUCCESS}, within the published limit of steps",
        licence="MIT (LIBERO)",
        media="none; LIBERO's assets beside its package, or simulators.libero.assets=DIR",
    )


class LiberoSpatial(EpisodeBenchmark):
    """LIBERO-Spatial: the same bowl in ten places."""

    about = "ten tasks that differ in places, in LIBERO"
    starts, tasks = 500, 10
    facts = _libero("libero_spatial", 10)
    simulators: ClassVar = {"libero": {"type": "libero", "suite": "libero_spatial"}}


class LiberoObject(EpisodeBenchmark):
    """LIBERO-Object: ten things into the basket."""

    about = "ten tasks that differ in things, in LIBERO"
    starts, tasks = 500, 10
    facts = _libero("libero_object", 10)
    simulators: ClassVar = {"libero": {"type": "libero", "suite": "libero_object"}}


class LiberoGoal(EpisodeBenchmark):
    """LIBERO-Goal: ten goals in one scene."""

    about = "ten goals in one scene, in LIBERO"
    starts, tasks = 500, 10
    facts = _libero("libero_goal", 10)
    simulators: ClassVar = {"libero": {"type": "libero", "suite": "libero_goal"}}


class Libero10(EpisodeBenchmark):
    """LIBERO-10: ten long tasks."""

    about = "ten long tasks, in LIBERO"
    starts, tasks = 500, 10
    facts = _libero("libero_10", 10)
    simulators: ClassVar = {"libero": {"type": "libero", "suite": "libero_10"}}


class Libero90(EpisodeBenchmark):
    """LIBERO-90: ninety short tasks."""

    about = "ninety short tasks, in LIBERO"
    starts, tasks = 4500, 90
    facts = _libero("libero_90", 90)
    simulators: ClassVar = {"libero": {"type": "libero", "suite": "libero_90"}}
