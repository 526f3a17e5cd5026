"""OpenVLA-OFT with its discrete head: every token of a chunk of actions from one forward pass (arXiv 2502.19645).

The row is the prompt, one empty slot for each action token, and the end token; all of it attends to all of it. As in
the published code, the state before a slot predicts the slot's token, the first from the prompt's last token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import PolicyBatch, Sample
from mmrl.policies.openvla import checkpoint
from mmrl.policies.openvla.config import OpenVLAConfig
from mmrl.policies.openvla.model import ACTION_SLOT
from mmrl.policies.openvla.policy import OpenVLA
from mmrl.policies.openvla.processor import OpenVLAPrompt
from mmrl.policies.statistics import bounds, choose, cure_of_sizes
from mmrl.policies.token_policy import pad_prompts
from mmrl.recipe.policies.openvla import OFTParams, OFTSettings


@dataclass(frozen=True, slots=True)
class ParallelState:
    """Sampling state: the states of all slots are known, and tokens are drawn slot by slot.

    Attributes:
        states_PUH: of each prompt.
        row_B: int64, the prompt of each row.
        unit: the slot whose logits are given.
    """

    states_PUH: Tensor
    row_B: Tensor
    unit: int
    logits_BV: Tensor

    def select(self, rows: Tensor) -> ParallelState:
        """The state of `rows` (int64)."""
        return replace(self, row_B=self.row_B[rows], logits_BV=self.logits_BV[rows])

    def join(self, other: ParallelState) -> ParallelState:
        """See `DecodeState.join`. Raises ValueError at different slots, where rows of whole chunks never meet."""
        if self.unit != other.unit:
            raise ValueError(f"rows at slot {self.unit} are not decoded beside others at slot {other.unit}")
        states_PUH = torch.cat([self.states_PUH, other.states_PUH])
        row_B = torch.cat([self.row_B, other.row_B + len(self.states_PUH)])
        return ParallelState(states_PUH, row_B, self.unit, torch.cat([self.logits_BV, other.logits_BV]))


class OpenVLAOFT(OpenVLA):
    """The adapter. Tokens of one decision are independent given the observation, so rows of a prompt share a pass."""

    @classmethod
    def check_files(cls, folder: Path, model_config: OpenVLAConfig, params: OFTParams, config: OFTSettings) -> None:
        """Raises CheckpointError where the folder's files ask for a head, or for a state, that would not be read."""
        checkpoint.refuse_other_heads(folder, config.path)
        checkpoint.check_projector(folder, params.state_dim, params.state_projector, config.path)

    @classmethod
    def configure(cls, model_config: OpenVLAConfig, params: OFTParams, config: OFTSettings) -> None:
        """Also refuses what parallel decoding cannot be without."""
        super().configure(model_config, params, config)
        if params.chunk is None:
            raise ConfigError("policy.params.chunk is unset, and the checkpoint does not say; LIBERO's have 8")
        # Once it is saved, the projector is the checkpoint's.
        del model_config.params["state_projector"]

    @property
    def units(self) -> int:
        """Tokens of a whole chunk."""
        return self.params.chunk * self.tokens.action_dim

    @property
    def images_seen(self) -> int | None:
        """Any number: the patches of all cameras stand one after the other."""
        return len(self.params.cameras) if self.params.cameras else None

    def _state(self, sample: Sample) -> Tensor | None:
        if self.params.state_dim is None:
            return None
        if sample.state is None:
            raise BadSample(sample.where, "has no robot state, which policy.params.state_dim says the policy reads")
        key = choose(self.statistics, self.params.statistics)
        limits = bounds(self.statistics, key, "proprio")
        sizes = {
            "the simulator's state": sample.state.numel(),
            f"entry 'proprio' of statistics '{key}'": len(limits.low_A),
        }
        for what, size in sizes.items():
            if size != self.params.state_dim:
                raise ConfigError(
                    f"policy.params.state_dim is {self.params.state_dim}, and {what} has {size} values; set it to the "
                    f"robot's; {cure_of_sizes('openvla_oft', 'state', sample.state.numel())}"
                )
        return limits.normalise(sample.state.flatten()).float()

    def batch_tokens(self, prompts: Sequence[OpenVLAPrompt], rows_per_prompt: Sequence[Sequence[int]]) -> int:
        """Tokens of one forward pass: rows of one prompt share it."""
        return len(prompts) * (max(p.length for p in prompts) + self.units + self.params.stop_token)

    def _slot_states(self, prompts: Sequence[OpenVLAPrompt], side: str = "right") -> Tensor:
        """[P, U, H]: the state that predicts each slot's token."""
        end = [self.tokenizer.eos_token_id] if self.params.stop_token else []
        tail = torch.tensor([ACTION_SLOT] * self.units + end)
        ids = [torch.cat([p.input_ids, tail]) for p in prompts]
        padded = pad_prompts(ids, [torch.arange(len(ids_P)).expand(3, -1) for ids_P in ids], side)
        seen_BT = padded.seen_BT.to(self.device)
        eye = torch.eye(seen_BT.shape[1], dtype=torch.bool, device=self.device)
        hidden = self._hidden(
            padded.input_ids_BT.to(self.device),
            padded.positions_3BT.to(self.device),
            self._mask(((seen_BT[:, None, :] & seen_BT[:, :, None]) | eye)[:, None]),
            prompts,
        )
        first = padded.last_B - len(tail) + torch.arange(len(prompts)) * seen_BT.shape[1]
        places = (first[:, None] + torch.arange(self.units)).flatten().to(self.device)
        return hidden.flatten(0, 1).index_select(0, places).unflatten(0, (len(prompts), self.units))

    def _unit_states(self, batch: PolicyBatch) -> Tensor:
        self.check_units(batch.tokens_RU.shape[1])
        states = self._slot_states(batch.prompts).flatten(0, 1)
        places = batch.prompt_index_R[:, None] * self.units + torch.arange(batch.tokens_RU.shape[1])
        return states.index_select(0, places[batch.mask_RU].to(self.device))

    def check_units(self, units: int) -> None:
        """Raises ConfigError where a decision of so many units is longer than the chunk that one pass predicts."""
        if units > self.units:
            raise ConfigError(
                f"rollout.action_chunk asks for {units} tokens per decision, and the policy's chunk of "
                f"{self.params.chunk} actions has {self.units}; set it to at most {self.params.chunk}"
            )

    @torch.no_grad()
    def prefill(self, prompts: Sequence[OpenVLAPrompt], repeats: int, side: str = "left") -> ParallelState:
        """Runs each prompt and its slots once; `repeats` consecutive rows then share the states."""
        with self._autocast():
            states = self._slot_states(prompts, side)
        rows = torch.arange(len(prompts), device=self.device).repeat_interleave(repeats)
        return self._at(states, rows, 0)

    @torch.no_grad()
    def decode(self, state: ParallelState, tokens_B: Tensor) -> ParallelState:
        """Moves on to the next slot; what was drawn does not matter to it."""
        self.check_units(state.unit + 2)
        return self._at(state.states_PUH, state.row_B, state.unit + 1)

    def _at(self, states_PUH: Tensor, row_B: Tensor, unit: int) -> ParallelState:
        with self._autocast():
            logits_PV = self._model.get_output_embeddings()(states_PUH[:, unit])
        return ParallelState(states_PUH, row_B, unit, logits_PV[row_B])
