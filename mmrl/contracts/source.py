"""The contract of sources of experience: what turns samples of one kind into groups of trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from mmrl.contracts.context import Begins, Context, Dresses, Rephrases
from mmrl.contracts.engine import Engine, Sampling
from mmrl.contracts.errors import BadSample
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Group, Prompt, Sample, Trajectory


class Scorer(Protocol):
    """What rewards trajectories."""

    def check(self, sample: Sample) -> None:
        """Raises BadSample where the sample's target cannot be read."""

    def with_group(self, texts: Sequence[str], sample: Sample) -> Sample:
        """The sample with what rewards of agreement take from all answers to it."""

    def score(self, trajectory: Trajectory, sample: Sample) -> Trajectory:
        """The trajectory with its reward, parts and accuracy."""

    def score_all(self, pairs: Sequence[tuple[Trajectory, Sample]]) -> list[Trajectory]:
        """`score` of each pair, in order."""


class Worlds(Protocol):
    """A recipe's simulators, each in `pipeline` groups of worlds that take turns."""

    pipeline: int

    def get(self, name: str, worlds: int, lane: int = 0) -> Any:
        """The simulator `name`, best with `worlds` parallel worlds, for one of the groups."""


class Labels(Protocol):
    """How a simulator's expert labels what the policy does."""

    @property
    def takeover(self) -> float | None:
        """Difference in one action dimension beyond which the expert plays, and labels only then; None: never."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a run's sources work with."""

    policy: Policy
    engine: Engine
    simulators: Worlds
    rewarder: Scorer


@dataclass(frozen=True, slots=True)
class Terms:
    """How groups are to be sampled or demonstrated.

    Attributes:
        sampling: settings of the engine; its limit of units is that of demonstrated answers too.
        n: trajectories per group.
        seed: of all sampling.
        chunk: actions per decision of an episode.
        bootstrap: prepare the last observation of truncated episodes, for a critic.
        labels: demonstrated episodes are the policy's own with the expert's labels; None: the expert's.
        context: what answers are sampled under, where that is not what they are scored under.
        shown: answers per group that are sampled under it, the last ones; the others see the sample as it is.
        on_fail: only in groups without a right answer, where they take the place of the last ones.
        further: contexts that are tried after it, one by one, in groups that it did not help.
        progress: share of the stage that is done.
        pool: more answers are sampled than n, which are chosen of them (`mmrl.recipe.rollout.Pool`); None: n are.
        recorded: episodes are kept as demonstrations (`Trajectory.recorded`).
        corrected: ratios of answers under a context start from their log-probs there.
    """

    sampling: Sampling
    n: int = 1
    seed: int = 0
    chunk: int = 1
    bootstrap: bool = False
    labels: Labels | None = None
    context: Context | Begins | Dresses | Rephrases | None = None
    shown: int = 0
    on_fail: bool = False
    further: tuple[Context | Begins | Dresses | Rephrases, ...] = ()
    progress: float = 0.0
    corrected: bool = False
    pool: Any = None
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """A sample as its source starts from it.

    Attributes:
        sample: in the policy's coordinates.
        prompts: those that are known before anything is sampled: one of an answer, one per step of a recorded episode,
            none of an episode that is yet to be played.
        turns: of a conversation with several answers to learn, the sample of each: what was said before it, with it as
            the demonstration; `prompts` are theirs.
    """

    sample: Sample
    prompts: tuple[Prompt, ...] = ()
    turns: tuple[Sample, ...] = ()


class Source(Protocol):
    """Turns samples of one kind (`Sample.kind`) into groups. Made from the run's means whenever it is asked.

    Attributes:
        rewarded: the recipe's rewards score what it samples; else it brings rewards of its own.
        recorded: its demonstrations stand in the data; else something plays them when they are drawn.
    """

    rewarded: ClassVar[bool]
    recorded: ClassVar[bool]

    def __init__(self, means: Means):
        """Takes what it works with."""

    @staticmethod
    def prepare(sample: Sample, policy: Policy, rewarder: Scorer, rewarded: bool) -> Ready:
        """A sample made ready, before a model call is spent on it.

        Args:
            rewarded: False for demonstrations, whose target no reward has to read.

        Raises:
            BadSample: it cannot be used.
        """

    @staticmethod
    def again(group: Group) -> Ready:
        """What a group of this source started from, to demonstrate it."""

    def plan(self, ready: Sequence[Ready], terms: Terms) -> list[Group]:
        """A scored group of each, in order."""

    def demonstrate(self, ready: Sequence[Ready], terms: Terms, scored: bool) -> list[Group | BadSample]:
        """A group of one demonstration of each, in order, or why it cannot be used.

        Args:
            scored: with reward and accuracy, to stand among what the policy sampled.
        """
