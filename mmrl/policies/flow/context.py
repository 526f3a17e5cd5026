"""What travels with a flow policy's decisions, and what its network is given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class FlowPrompt:
    """One prepared observation.

    Attributes:
        input_ids: int64 [P], a placeholder for each image feature, then the text.
        pixels: float32 [N, 3, S, S] of the cameras, normalised.
        state: float32 [max_state_dim], normalised and padded with 0; None where the state is in the text.
        digest: of all of them.
        sensed: float32 [S], the state as the robot gave it.
    """

    input_ids: Tensor
    pixels: Tensor
    state: Tensor | None
    digest: bytes
    sensed: Tensor

    @property
    def length(self) -> int:
        """Tokens of the prompt, image features included."""
        return self.input_ids.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class FlowContext:
    """The trained denoising steps of one decision, over the whole horizon H and all D action dims of the network.

    Attributes:
        steps_S: int64, which of the sampler's steps.
        before_SHD, after_SHD: float32, x before and after each.
    """

    steps_S: Tensor
    before_SHD: Tensor
    after_SHD: Tensor


@dataclass(frozen=True, slots=True)
class Prefix:
    """Prompts as the expert sees them.

    Attributes:
        layers: (keys, values) of each layer, [P, heads, T, head_dim].
        seen_PT: bool, true on real tokens.
        mean_PH: the mean of the language model's last states over each prompt's tokens.
        state_PS: each prompt's state, or None.
    """

    layers: Sequence[tuple[Tensor, Tensor]]
    seen_PT: Tensor
    mean_PH: Tensor
    state_PS: Tensor | None

    def take(self, rows: Tensor) -> Prefix:
        """The prefix of each of `rows` (int64, indices of prompts)."""
        # index_select, not indexing: the backward of repeated indices is then summed in a fixed order.
        layers = [(k.index_select(0, rows), v.index_select(0, rows)) for k, v in self.layers]
        state = None if self.state_PS is None else self.state_PS.index_select(0, rows)
        return Prefix(layers, self.seen_PT.index_select(0, rows), self.mean_PH.index_select(0, rows), state)


class Noise:
    """What a batch of rows draws: all from one generator, or each row from that of its prompt.

    Args:
        source: a generator on `device`, or one of each prompt on the CPU.
        rows: in all.
        repeats: rows of a prompt, which follow each other.
    """

    def __init__(
        self, source: torch.Generator | Sequence[torch.Generator], rows: int, repeats: int, device: torch.device
    ):
        self._source, self._rows, self._repeats, self._device = source, rows, repeats, device

    def normal(self, *shape: int) -> Tensor:
        """float32 [rows, *shape], standard normal."""
        if isinstance(self._source, torch.Generator):
            return torch.randn(self._rows, *shape, device=self._device, generator=self._source)
        drawn = [torch.randn(self._repeats, *shape, generator=each) for each in self._source]
        return torch.cat(drawn).to(self._device)

    def below(self, end: int) -> Tensor:
        """int64 [rows], uniform from 0 to `end` - 1."""
        if isinstance(self._source, torch.Generator):
            return torch.randint(end, (self._rows,), device=self._device, generator=self._source)
        return torch.cat([torch.randint(end, (self._repeats,), generator=each) for each in self._source]).to(
            self._device
        )


def digest_of(*parts: Any) -> bytes:
    """16 bytes that tell apart what differs in any of the tensors, bytes or numbers."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().numpy().tobytes()
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"|")
    return digest.digest()


def generator_of(*parts: Any) -> torch.Generator:
    """A CPU generator seeded by what `digest_of` reads."""
    return torch.Generator().manual_seed(int.from_bytes(digest_of(*parts)[:7], "big"))
