"""The contracts of policies, by what they can do. Trainer, engines and sources know a policy only through them.

What every policy does is `Policy`. What only some do is a Protocol of its own, which whoever needs it asks for with
`isinstance`, which looks whether the members are there; they are few, for it reads each of them. The families:
`mmrl.recipe.policies.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision, Distribution, Likelihood, PolicyBatch, Prompt, Sample

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from torch import Tensor, nn

    from video import TensorCache

State = TypeVar("State", bound="DecodeState")


class DecodeState(Protocol):
    """What an engine carries between sampling steps; rows can be dropped when they finish."""

    @property
    def logits_BV(self) -> Tensor:
        """Of each row's next token."""

    def select(self: State, rows: Tensor) -> State:
        """The state of some rows only."""

    def join(self: State, other: State) -> State:
        """The state with the rows of another behind its own, which `prefill` has just begun."""


class PolicySettings(Protocol):
    """What every family's settings have; `mmrl.recipe.policy.PolicyConfig` is their base."""

    @property
    def type(self) -> str:
        """The family's name."""

    @property
    def path(self) -> str:
        """The checkpoint that it was loaded from."""

    @property
    def dtype(self) -> str:
        """`float32`, or `bfloat16`: what forward passes compute in; trained weights are float32."""


class Towers(Protocol):
    """Sizes that the memory of a step follows from."""

    @property
    def text(self) -> Any:
        """Transformers' config of the language model."""

    @property
    def vision(self) -> Any | None:
        """That of the vision tower; None: its activations are not counted."""

    @property
    def vision_trained(self) -> bool:
        """Whether gradients pass through the tower."""

    @property
    def patches_per_token(self) -> int:
        """Patches that become one visual token."""

    @property
    def vocabulary(self) -> int:
        """Tokens that logits are computed for; 0: none are."""


class Policy(Protocol):
    """A model behind an adapter."""

    @property
    def config(self) -> PolicySettings:
        """The settings that it was loaded with."""

    @property
    def module(self) -> nn.Module:
        """The trainable module."""

    @property
    def device(self) -> torch.device:
        """Where it lives."""

    @property
    def towers(self) -> Towers:
        """Sizes of the model, for the estimate of memory."""

    def prepare(self, samples: Sequence[Sample]) -> Sequence[Prompt]:
        """Tokens, pixels and positions of each sample, once, for engine and trainer alike. Raises BadSample."""

    def localise(self, sample: Sample, prompt: Any) -> Sample:
        """The sample with its boxes (target and demonstration) in this policy's coordinates."""

    def demonstration(self, sample: Sample, max_units: int) -> Tensor:
        """int64 [U]: the demonstration's tokens and end token. Raises BadSample where it is missing or too long."""

    def decode_text(self, tokens: Tensor) -> str:
        """Text of sampled tokens, special tokens left out."""

    def log_probs(self, batch: PolicyBatch, entropy: str = "none") -> Likelihood:
        """Log-probs of given units, differentiable; entropy is `none`, `value` or `gradient`."""

    def batch_tokens(self, prompts: Sequence[Any], rows_per_prompt: Sequence[Sequence[int]]) -> int:
        """Tokens that one forward over these prompts and row lengths computes, padding included."""

    def reference(self) -> AbstractContextManager[None]:
        """Inside, `log_probs` are the reference policy's. Raises ConfigError when none was kept."""

    def keep_reference(self, base: bool = False) -> None:
        """Makes the current weights the reference, with `base` the ones below LoRA's adapters.

        Raises ConfigError where there are none.
        """

    def follow_reference(self, share: float) -> None:
        """Moves the reference a share of the way to the current weights. Raises ConfigError where there is none."""

    def reference_state(self) -> dict[str, Tensor] | None:
        """The kept reference's weights, for checkpoints; None where there is none to save."""

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `reference_state` gave."""

    def trainable(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """(name, parameter, part) of what is trained; part is `vision`, `language` or `value`."""

    def save_pretrained(self, folder: Path) -> None:
        """Writes the hub's layout; loads with plain transformers."""


@runtime_checkable
class Comparing(Protocol):
    """Predicts units by a softmax over a vocabulary, which can stand beside another policy's over the same one."""

    def unit_states(self, batch: PolicyBatch) -> Tensor:
        """[N, H]: the hidden state that predicts each unit, row by row."""

    def output_head(self) -> Callable[[Tensor], Tensor]:
        """From those states to logits [N, V]. Raises ConfigError where adapters change it."""

    def units_read(self) -> Mapping[str, Any]:
        """What another checkpoint must have alike to score this one's units on its prompts, by what it is."""

    def log_probs(
        self, batch: PolicyBatch, entropy: str = "none", others: Mapping[tuple[str, str], Distribution] | None = None
    ) -> Likelihood:
        """As `Policy.log_probs`, with divergences to other policies' distributions q, p being its own.

        Args:
            others: by (form, name): `forward` is KL(q || p), `reverse` KL(p || q), `js` their Jensen-Shannon
                divergence, each over the whole vocabulary under the batch's temperature and token bans.
        """


@runtime_checkable
class Representing(Protocol):
    """Has a hidden state of a whole prompt, before anything is answered."""

    def prompt_states(self, prompts: Sequence[Any]) -> Tensor:
        """float32 [B, H]: the last hidden state at each prompt's last token, without dropout and without gradients."""


@runtime_checkable
class Adapted(Protocol):
    """May be trained through LoRA adapters."""

    def save_adapter(self, folder: Path) -> None:
        """Writes the adapters in peft's layout. Raises ConfigError where there are none."""


@runtime_checkable
class Decoding(Protocol):
    """Samples token by token, from a cache that engines carry."""

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion."""

    def prefill(self, prompts: Sequence[Any], repeats: int, side: str = "left") -> DecodeState:
        """Runs each prompt once; `repeats` consecutive rows then continue it."""

    def decode(self, state: Any, tokens_B: Tensor) -> DecodeState:
        """Appends one token per row."""

    def cast_once(self) -> AbstractContextManager[None]:
        """Inside, where weights stand still, each is cast to what forward passes compute in once, not in each pass."""

    def allowed_tokens(self, restrict: str | None) -> Tensor:
        """bool [V]: tokens that may be sampled; placeholders never may."""


class TokenPolicy(Policy, Decoding, Protocol):
    """A policy that engines decode."""


@runtime_checkable
class Denoising(Protocol):
    """Denoises whole chunks of actions."""

    def sample(
        self,
        prompts: Sequence[Any],
        repeats: int,
        units: int,
        generator: torch.Generator | Sequence[torch.Generator],
        deterministic: bool = False,
    ) -> list[Decision]:
        """`repeats` chunks of actions for each prompt, in order.

        Args:
            units: of a chunk: executed actions x action_dim.
            generator: on the policy's device; or one of each prompt, on the CPU, so that what is drawn for a prompt
                does not depend on its place among the others.
            deterministic: follow the ODE; the decisions then have log-probs of 0 and no context.

        Raises:
            ConfigError: a chunk beyond the horizon that the checkpoint predicts.
        """


class FlowPolicy(Policy, Denoising, Protocol):
    """A policy that engines denoise."""


@runtime_checkable
class Acting(Protocol):
    """Acts in simulators."""

    @property
    def horizon(self) -> int | None:
        """Actions that one model call predicts and a demonstration teaches, however few of them are executed; None:
        those that are executed."""

    def units_per_action(self, action_dim: int) -> int:
        """Likelihood units that one action of the simulator takes. Raises ConfigError where its size does not fit."""

    def actions(self, units_BU: Tensor, action_dim: int) -> Tensor:
        """float32 [B, C, A]: the simulator's actions that U = C x units_per_action units of a decision stand for."""

    def action_units(self, actions_BCA: Tensor) -> Tensor:
        """int64 [B, U]: the units nearest to given actions, for demonstrations."""

    def check_units(self, units: int) -> None:
        """Raises ConfigError where a decision of so many units is longer than what one model call predicts."""


@runtime_checkable
class Relative(Protocol):
    """Acts in differences from the robot's state in some dimensions.

    Attributes:
        delta: these dimensions of an action; empty: its actions are as the simulator takes them.
    """

    delta: tuple[int, ...]

    def absolute(self, actions_BCA: Tensor, prompts: Sequence[Any]) -> Tensor:
        """float32 [B, C, A]: a chunk of predicted actions as the simulator takes them, for each observation.

        Raises:
            ConfigError: a dimension that the actions or the state do not have.
        """

    def relative(self, actions_BCA: Tensor, prompts: Sequence[Any]) -> Tensor:
        """The inverse of `absolute`."""


class ActingPolicy(Policy, Acting, Protocol):
    """A policy that acts."""


@runtime_checkable
class Normalising(Protocol):
    """Keeps the normalisation statistics of the actions that it was trained on."""

    @property
    def statistics(self) -> Mapping[str, Any]:
        """Dataset -> its statistics."""

    def set_statistics(self, key: str, entry: Mapping[str, Any]) -> None:
        """Takes normalisation statistics of recorded actions, to follow them where it normalises and to save them.

        Args:
            key: the dataset's name.
            entry: {"action" | "proprio" -> {mean, std, min, max, q01, q99, mask}} as lists of a value per dimension.

        Raises:
            ConfigError: actions that it cannot represent.
        """


@runtime_checkable
class Parametrised(Protocol):
    """A policy, or its settings, with `policy.params` of its family, which its checkpoint may have completed."""

    @property
    def params(self) -> BaseModel:
        """Those that hold."""


@runtime_checkable
class ChoosesStatistics(Protocol):
    """Params that say which statistics a policy's actions follow."""

    @property
    def statistics(self) -> str | None:
        """The dataset; None: the only one."""


@runtime_checkable
class ChoosesCameras(Protocol):
    """Params that say which cameras a policy sees."""

    @property
    def cameras(self) -> list[str] | None:
        """Their names, in the policy's order; None: all that there are."""


@runtime_checkable
class Seeing(Protocol):
    """Sees cameras by name."""

    def take_cameras(self, names: Sequence[str]) -> None:
        """Sets `params.cameras`, to be saved where the params are."""


class Ahead(Protocol):
    """Gives what threads read before it is asked for."""

    @property
    def held(self) -> int:
        """Bytes that wait to be taken."""

    def want(self, jobs: Mapping[Hashable, Callable[[], Any]]) -> None:
        """What is to be read, by its key, the first to be used first."""

    def take(self, key: Hashable, load: Callable[[], Any]) -> tuple[Any, bool]:
        """What a job gave, or else `load`, and whether the job had been begun."""

    def close(self) -> None:
        """Ends the threads."""


class Media(Protocol):
    """Reads the pictures and videos of samples, sized for one policy.

    Attributes:
        cache: decoded ones on disk; None decodes each time.
        ahead: gives what was read ahead in threads; None: all are read when they are asked for.
    """

    cache: TensorCache | None
    ahead: Ahead | None

    def check(self, place: str, overrides: Mapping[str, Any] = ...) -> None:
        """Raises ConfigError, naming the `place` in the recipe, where no frame has the pixels of a visual token."""

    def jobs(self, sample: Sample) -> Mapping[Hashable, Callable[[], Any]]:
        """What reads each of the sample's videos and pictures, for `Ahead.want`."""

    def figures(self) -> dict[str, float]:
        """What reading took since the last call, as documented metrics; empty before anything is read."""


@runtime_checkable
class ReadsVideo(Protocol):
    """Is shown videos, and pictures of any size."""

    @property
    def videos(self) -> Media:
        """What reads them."""


@contextmanager
def without_dropout(policy: Policy) -> Iterator[None]:
    """The policy without dropout inside, and as it was after it."""
    training = policy.module.training
    policy.module.eval()
    try:
        yield
    finally:
        policy.module.train(training)


def media_of(policy: Policy) -> Media | None:
    """What reads a policy's videos; None where it is shown none."""
    return policy.videos if isinstance(policy, ReadsVideo) else None


def params_of(policy: Policy | PolicySettings) -> BaseModel | None:
    """The params of a policy or of its settings; None where its family has none."""
    return policy.params if isinstance(policy, Parametrised) else None


def deltas_of(policy: Policy) -> tuple[int, ...]:
    """The action dimensions that a policy predicts as differences from the state."""
    return policy.delta if isinstance(policy, Relative) else ()


def played(policy: ActingPolicy, units_BU: Tensor, action_dim: int, prompts: Sequence[Any]) -> Tensor:
    """float32 [B, C, A]: what the units of decisions about these observations are in the simulator."""
    actions_BCA = policy.actions(units_BU, action_dim)
    return policy.absolute(actions_BCA, prompts) if isinstance(policy, Relative) and policy.delta else actions_BCA


def recorded_units(policy: ActingPolicy, actions_BCA: Tensor, prompts: Sequence[Any]) -> Tensor:
    """The units of actions of the simulator that followed these observations."""
    if isinstance(policy, Relative) and policy.delta:
        actions_BCA = policy.relative(actions_BCA, prompts)
    return policy.action_units(actions_BCA)


@runtime_checkable
class Spelling(Protocol):
    """Writes out, token by token, what it was shown and what it says."""

    def spelled_prompt(self, prompt: Any) -> str:
        """What it truly saw: after the chat template, special tokens included.

        Placeholders of pictures and videos that follow each other are written once, with their number:
        `<|image_pad|> x 64`.
        """

    def spelled(self, tokens: Tensor) -> list[str]:
        """The text of each of the tokens, int64 [U], special ones included; together they are the whole text.

        The tokens of one character that several are needed for are empty but for the last of them.
        """


@runtime_checkable
class Opens(Protocol):
    """A policy whose prompts begin the answer.

    Attributes:
        opening: with what, such as `<think>` and a line break; empty: with nothing.
    """

    opening: str


@runtime_checkable
class TemplatesChat(Protocol):
    """A policy whose prompts a chat template writes."""

    @property
    def chat_template(self) -> str:
        """Its Jinja."""


def opening_of(policy: Policy) -> str:
    """What the policy's prompts begin of each answer, which rewards read before the sampled text."""
    return policy.opening if isinstance(policy, Opens) else ""


def acting(policy: Policy) -> ActingPolicy:
    """The policy as one that acts. Raises ConfigError where it does not."""
    if not isinstance(policy, Acting):
        raise ConfigError(f"policy.type '{policy.config.type}' does not act")
    return policy
