"""The π0.5 adapter: the state is written into the prompt, and statistics are quantiles."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmrl.contracts.types import Sample
from mmrl.policies.flow.context import Prefix
from mmrl.policies.flow.normaliser import Kind
from mmrl.policies.observations import instruction_of
from mmrl.policies.pi0.policy import Pi0

BINS = 256


def state_bins(state_S: Tensor) -> list[int]:
    """The bin of each normalised value among 256 of equal width in [-1, 1]; -1 below them, 255 above."""
    edges = torch.linspace(-1, 1, BINS + 1, dtype=torch.float64)[:-1]
    return (torch.bucketize(state_S.double(), edges, right=True) - 1).tolist()


def prompt_text(instruction: str, state_S: Tensor, size: int | None = None) -> str:
    """openpi's prompt; with `size` lerobot's, whose state is padded to that many values with 0."""
    task = instruction.strip().replace("_", " ").replace("\n", " ")
    padded = nn.functional.pad(state_S, (0, 0 if size is None else max(0, size - len(state_S))))
    return f"Task: {task}, State: {' '.join(map(str, state_bins(padded)))};\nAction: "


class Pi05(Pi0):
    """π0.5 (arXiv 2504.16054), low-level policy. The critic reads the mean of the language model's states."""

    family: ClassVar[str] = "pi05"
    default_kind: ClassVar[Kind] = "quantiles"

    @classmethod
    def critic_size(cls, sizes: Any) -> int:
        """Width of the states that the value head reads."""
        return sizes.vlm_config.text_config.hidden_size

    def _text_ids(self, sample: Sample, state_S: Tensor) -> list[int]:
        return self._encode(prompt_text(instruction_of(sample), state_S, self._model.config.prompt_state_dim))

    def _given_state(self, state_S: Tensor) -> Tensor | None:
        return None

    def _velocity(self, prefix_E: Prefix, x_EHD: Tensor, time_E: Tensor) -> tuple[Tensor, Tensor]:
        model = self._model
        embeds, condition = model.embed_action_time(x_EHD.to(model.action_out_proj.weight.dtype), time_E)
        states = model.model(
            action_embeds=embeds,
            condition=condition,
            attention_mask=prefix_E.seen_PT,
            past_key_values=self._cache(prefix_E),
        ).last_hidden_state
        return model.action_out_proj(states).float(), states

    def _critic_states(self, prefix: Prefix, states_ETH: Tensor) -> Tensor:
        return prefix.mean_PH
