"""The words of the project as frozen types. Rooms exchange these and nothing else.

Shape suffixes: R rows of a batch (decisions), U likelihood units of a row (tokens or action tokens), P prompt tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

POLICY = "policy"
DEMO = "demo"
REJECTED = "rejected"


class StopReason(StrEnum):
    """What ended a completion or an episode."""

    END = "end"  # the policy's end token
    TEXT = "text"  # a stop text of the recipe
    LENGTH = "length"  # a limit of units cut it off
    WHOLE = "whole"  # it has the fixed number of units that was asked for
    TERMINAL = "terminal"  # the episode came to an end of its own
    TIME = "time"  # the episode's time limit cut it off

    @property
    def is_cut(self) -> bool:
        """Whether a limit cut off what would have gone on."""
        return self in (StopReason.LENGTH, StopReason.TIME)


class Span(NamedTuple):
    """Units `start` to `end` - 1 of a completion; `version` is the optimizer steps that led to their weights."""

    version: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One dataset row.

    Attributes:
        id: unique within its dataset and stable over runs.
        messages: chat messages `{"role": str, "content": [{"type": "text", "text": str} | {"type": "image"} |
            {"type": "video"}]}`; the i-th image part stands for `images[i]`.
        task: the key that picks a reward (`ocr`, `counting`, ...).
        target: ground truth in the form the task's reward reads.
        images: one of `PIL.Image.Image`, `bytes`, or a path, for every image part in order.
        videos: for every video part in order a path (file or folder of frames), a list of images, or a clip
            `{"path": ..., "start": s, "end": s, "source_fps": frames per second of a folder or list}`; `all_frames`,
            `timestamps` (s) and `stream` of a clip go before those of the budget.
        budgets: the dataset's own pixel and frame budgets, `{"image": {...}, "video": {...}}`, over the policy's.
        demonstration: the assistant's reference answer, without special tokens.
        rejected: an answer that the demonstration is preferred to, in the same form.
        learned: places in `messages` of earlier answers of the assistant that are demonstrations as well.
        kind: the source of experience that turns it into a group; empty: `episodes` where a simulator is named, else
            `answers`.
        dataset: the name of the dataset it came from.
        row: its row there, for error messages.
        root: folder that relative media paths start from and must stay under.
        coordinates: `pixel` (of the original image), `norm1000`, `norm1`: how boxes in `target` are written.
        simulator: the recipe's simulator that plays this sample, for episodes.
        episode: the start-state id there.
        cameras: the simulator's name of each of `images`, where they are one observation.
        state: float32 [S], the robot's own sensors at that observation.
        expert_noise: for episodes, the share of the scripted expert's actions that a random one replaces.
        actions: float32 [C, A], a demonstration of actions: those that followed the observation, in the simulator's
            units; fewer than the dataset's `chunk` at the end of an episode.
        rewards: [C], what each of `actions` earned.
        steps: a whole recorded episode: the samples of its decisions, in time order; read when it is iterated over.
        epoch: passes over its dataset before this draw, which augmentation is drawn by; 0 where it is held out.
        columns: the row's own columns without bytes and pictures, for rewards that ask for them by name; empty where
            it has none.
        draw: (dataset, row) as the sampler drew them, by which it is told the outcome; None where it is held out.
    """

    id: str
    messages: tuple[Mapping[str, Any], ...]
    task: str
    target: Mapping[str, Any]
    images: tuple[Any, ...] = ()
    videos: tuple[Any, ...] = ()
    demonstration: str | None = None
    learned: tuple[int, ...] = ()
    dataset: str = ""
    row: int = -1
    root: str | None = None
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    coordinates: str = "pixel"
    simulator: str | None = None
    episode: int = 0
    cameras: tuple[str, ...] = ()
    state: Tensor | None = None
    expert_noise: float = 0.0
    actions: Tensor | None = None
    rewards: tuple[float, ...] = ()
    steps: Sequence[Sample] = ()
    epoch: int = 0
    draw: tuple[int, int] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, compare=False)
    kind: str = ""
    rejected: str | None = None

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", "answers" if self.simulator is None else "episodes")

    @property
    def demonstrated(self) -> bool:
        """Whether it carries a demonstration, of text or of actions."""
        answered = self.demonstration is not None or len(self.learned) > 0
        return answered or self.actions is not None or len(self.steps) > 0

    @property
    def question(self) -> str:
        """The text of the last user turn, without its pictures; empty where there is none."""
        asked = [message["content"] for message in self.messages if message["role"] == "user"]
        return "\n".join(part["text"] for part in asked[-1] if part["type"] == "text").strip() if asked else ""

    @property
    def where(self) -> str:
        """Where an error message points to."""
        return f"{self.dataset or 'dataset'} row {self.row} (id {self.id})"


class Prompt(Protocol):
    """One prepared prompt, opaque outside its policy. It exists once per group; decisions point at it.

    Those of a policy that reads videos are each a `VideoPrompt`.
    """

    @property
    def length(self) -> int:
        """Prompt tokens after image expansion."""


class VideoPrompt(Prompt, Protocol):
    """A prompt with videos."""

    @property
    def frames(self) -> int:
        """How many frames were read."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One model call: observation to likelihood units.

    Attributes:
        prompt: the prepared observation, shared by identity between the decisions that start from it.
        tokens: int64 [U], the sampled or demonstrated units, stop token included; of a flow policy float32, the
            normalised actions. A flow policy's demonstration shows those after the executed chunk too.
        log_probs: float32 [U], log-probs under the distribution that sampled them (temperature and token bans
            applied, top-k/top-p not), or None where the behaviour is unknown (demonstrations).
        context: what else the policy that sampled it needs to score it, opaque elsewhere: a flow policy's denoising
            steps. None for demonstrations.
        restrict: name of the token set the sampling was restricted to (`action`), or None.
        reward: reward credited right after this decision (dense episode rewards); 0 for answers.
        step_rewards: the rewards of the counted steps of its chunk of actions, which add up to `reward`; empty for
            answers.
        temperature: the softmax temperature at which its log-probs are taken, by engine and trainer alike.
        versions: see `Completion.versions`; empty for demonstrations.
        given: leading units that nobody sampled.
        learned: bool [U], the units that have a loss; None: all but those given.
        old: float32 [U], log-probs that ratios start from, of a prompt that it was sampled under and is not scored
            under; None: those of the policy before the first update.
    """

    prompt: Prompt
    tokens: Tensor
    log_probs: Tensor | None = None
    restrict: str | None = None
    reward: float = 0.0
    step_rewards: tuple[float, ...] = ()
    context: Any = None
    temperature: float = 1.0
    versions: tuple[Span, ...] = ()
    given: int = 0
    learned: Tensor | None = None
    old: Tensor | None = None

    @property
    def learned_units(self) -> int:
        """Units that have a loss."""
        return len(self.tokens) - self.given if self.learned is None else int(self.learned.sum())

    def first(self, units: int) -> Decision:
        """The decision without the units after the first `units`."""
        log_probs = self.log_probs[:units] if self.log_probs is not None else None
        spans = (Span(version, start, min(end, units)) for version, start, end in self.versions if start < units)
        return replace(
            self,
            tokens=self.tokens[:units],
            log_probs=log_probs,
            versions=tuple(spans),
            given=min(self.given, units),
            learned=None if self.learned is None else self.learned[:units],
            old=None if self.old is None else self.old[:units],
        )


@dataclass(frozen=True, slots=True)
class EpisodeFacts:
    """How an episode in a simulator went.

    Attributes:
        success_once: in success at any step.
        success_at_end: in success at the last step.
        length: simulator steps.
    """

    success_once: bool
    success_at_end: bool
    length: int


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Decisions and rewards of one episode. A VLM answer is a trajectory of one decision.

    Attributes:
        decisions: in time order.
        origin: `policy` (sampled by the current policy), `demo`, `rejected` (the worse answer of a pair), or another
            tag for foreign data.
        text: the decoded completion; empty for episodes.
        reward: the total reward, or None before rewarding.
        accuracy: in [0, 1], how right the answer is, or success of an episode; None where nothing has measured it.
        parts: named reward parts; None where a part does not apply.
        stop: what ended it; None for demonstrations that nothing played.
        final_prompt: the prepared observation after the last decision of a truncated episode, for bootstrapping; None
            where there is none.
        parsed, reason: what a reward read in the text, and its code for how that went; None, None where none read it.
        episode: how it went in its simulator; None where it was not played in one.
        recorded: of an episode that was played to be kept, each decision as a sample that demonstrates it: what was
            seen, and the actions that followed with what they earned.
        info: free facts for rollouts.jsonl, which nothing else reads.
    """

    decisions: tuple[Decision, ...]
    origin: str = POLICY
    text: str = ""
    reward: float | None = None
    accuracy: float | None = None
    parts: Mapping[str, float | None] = field(default_factory=dict)
    stop: StopReason | None = None
    final_prompt: Prompt | None = None
    parsed: Any = None
    reason: str | None = None
    episode: EpisodeFacts | None = None
    recorded: tuple[Sample, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """Likelihood units over all decisions."""
        return sum(len(d.tokens) for d in self.decisions)

    @property
    def learned_units(self) -> int:
        """Those that have a loss."""
        return sum(d.learned_units for d in self.decisions)

    @property
    def truncated(self) -> bool:
        """Whether a limit cut it off, and not an end token or a terminal state."""
        return self.stop is not None and self.stop.is_cut

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of the weights that sampled its units, in rising order."""
        return tuple(sorted({span.version for decision in self.decisions for span in decision.versions}))

    def measured(self) -> float:
        """The accuracy. Raises ValueError where nothing has measured it."""
        if self.accuracy is None:
            raise ValueError(f"a trajectory of origin '{self.origin}' has no accuracy: its source did not score it")
        return self.accuracy


@dataclass(frozen=True, slots=True)
class Group:
    """Trajectories that start from the same prompt or the same simulator state.

    Attributes:
        pool: all that were sampled, where `trajectories` are those chosen of them to learn from; empty: they are all.
    """

    sample: Sample
    trajectories: tuple[Trajectory, ...]
    pool: tuple[Trajectory, ...] = ()

    @property
    def everything(self) -> tuple[Trajectory, ...]:
        """All that were sampled."""
        return self.pool or self.trajectories


@dataclass(frozen=True, slots=True)
class PolicyBatch:
    """What `policy.log_probs` reads.

    Attributes:
        prompts: the distinct prompts of the batch.
        prompt_index_R: int64 [R], each row's prompt.
        tokens_RU: int64 [R, U], right-padded with 0; float32 for flow policies.
        mask_RU: bool [R, U], true on real units.
        temperature: the softmax temperature under which log-probs are taken.
        restrict: token-set name that the softmax is restricted to, shared by all rows.
        contexts: each row's `Decision.context`, [R]; or empty: no row has one.
    """

    prompts: Sequence[Prompt]
    prompt_index_R: Tensor
    tokens_RU: Tensor
    mask_RU: Tensor
    temperature: float = 1.0
    restrict: str | None = None
    contexts: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A policy's distribution over its vocabulary at each unit, before temperature and token bans.

    Attributes:
        states_NH: the hidden states that predict the units, row by row.
        head: from them to logits [N, V].
    """

    states_NH: Tensor
    head: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What `policy.log_probs` returns; differentiable where gradients are enabled.

    Attributes:
        log_probs_RU: float32 [R, U]; 0 where masked.
        mask_RU: bool [R, U].
        entropy_RU: float32 [R, U] entropy of the distribution at each unit in nats, or None if not asked for.
        log_normaliser_RU: float32 [R, U], log-sum-exp of the scaled logits under each unit's softmax, or None where
            units come from no softmax.
        value_RV: float32 [R, V], the critic's value before each decision (V = 1) or before each action of its chunk,
            or None without a critic.
        divergences: by (form, name), float32 [R, U] at each unit to another policy's distribution (`Comparing`).
    """

    log_probs_RU: Tensor
    mask_RU: Tensor
    entropy_RU: Tensor | None = None
    value_RV: Tensor | None = None
    log_normaliser_RU: Tensor | None = None
    divergences: Mapping[tuple[str, str], Tensor] = field(default_factory=dict)
