"""The contract that every policy keeps. Trainer, engines and objectives know a policy only through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from mmrl.contracts.types import Likelihood, PolicyBatch, Prompt, Sample


class DecodeState(Protocol):
    """What an engine carries between sampling steps; rows can be dropped when they finish."""

    logits_BV: Tensor

    def select(self, rows: Tensor) -> DecodeState:
        """The state of some rows only."""


class Policy(Protocol):
    """A model behind an adapter.

    Attributes:
        module: the trainable module.
        device: where it lives.
        coordinates: how this model writes boxes: `resized_pixel` or `norm1000`.
        eos_ids: tokens that end a completion.
        statistics: of a policy that acts, dataset -> its normalisation statistics.
        horizon: actions that one model call predicts and a demonstration teaches, however few of them are executed;
            None: those that are executed.

    `prefill` and `decode` are asked of policies without an engine of their own (`mmrl.recipe.policies.registry`).
    """

    module: nn.Module
    device: object
    coordinates: str
    eos_ids: tuple[int, ...]
    statistics: Mapping[str, Any]
    horizon: int | None

    def prepare(self, samples: Sequence[Sample]) -> list[Prompt]:
        """Tokens, pixels and positions of each sample, once, for engine and trainer alike. Raises BadSample."""

    def localise(self, sample: Sample, prompt: Prompt) -> Sample:
        """The sample with its boxes (target and demonstration) in this policy's coordinates."""

    def demonstration(self, sample: Sample, max_units: int) -> Tensor:
        """int64 [U]: the demonstration's tokens and end token. Raises BadSample where it is missing or too long."""

    def decode_text(self, tokens: Tensor) -> str:
        """Text of sampled tokens, special tokens left out."""

    def log_probs(self, batch: PolicyBatch, entropy: str = "none") -> Likelihood:
        """Log-probs of given units, differentiable; entropy is `none`, `value` or `gradient`."""

    def batch_tokens(self, prompts: Sequence[Prompt], rows_per_prompt: Sequence[Sequence[int]]) -> int:
        """Tokens that one forward over these prompts and row lengths computes, padding included."""

    def prefill(self, prompts: Sequence[Prompt], repeats: int, side: str = "left") -> DecodeState:
        """Runs each prompt once and fans it out to `repeats` consecutive rows."""

    def decode(self, state: DecodeState, tokens_B: Tensor) -> DecodeState:
        """Appends one token per row."""

    def allowed_tokens(self, restrict: str | None) -> Tensor:
        """bool [V]: tokens that may be sampled; placeholders never may."""

    def units_per_action(self, action_dim: int) -> int:
        """Likelihood units that one action of the simulator takes. Raises ConfigError where its size does not fit."""

    def actions(self, units_BU: Tensor, action_dim: int) -> Tensor:
        """float32 [B, C, A]: the simulator's actions that U = C x units_per_action units of a decision stand for."""

    def action_units(self, actions_BCA: Tensor) -> Tensor:
        """int64 [B, U]: the units nearest to given actions, for demonstrations."""

    def check_units(self, units: int) -> None:
        """Raises ConfigError where a decision of so many units is longer than what one model call predicts."""

    def set_statistics(self, key: str, entry: Mapping[str, Any]) -> None:
        """Takes normalisation statistics of recorded actions, to follow them where it normalises and to save them.

        Args:
            key: the dataset's name.
            entry: {"action" | "proprio" -> {mean, std, min, max, q01, q99, mask}} as lists of a value per dimension.

        Raises:
            ConfigError: actions that it cannot represent.
        """

    def reference(self) -> AbstractContextManager:
        """Inside, `log_probs` are the reference policy's. Raises ConfigError when none was kept."""

    def keep_reference(self) -> None:
        """Makes the current weights the reference (LoRA: the base already is)."""

    def trainable(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """(name, parameter, part) of what is trained; part is `vision`, `language` or `value`."""

    def save_pretrained(self, folder: Path) -> None:
        """Writes the hub's layout; loads with plain transformers."""
