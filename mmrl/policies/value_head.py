"""A critic on a policy's own hidden state: an MLP from the state that predicts a decision's first unit to its value.

It is kept beside the model, in `value_head.safetensors`, so that `model.safetensors` stays what the hub expects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import CheckpointError

FILE = "value_head.safetensors"
PREFIX = "value_head."


class ValueHead(nn.Module):
    """Hidden states [R, H] to values float32 [R, V]: one value per decision, or one for each action of its chunk.

    The last layer starts at 0, so that every value does.
    """

    def __init__(self, hidden_size: int, width: int, outputs: int = 1, detach: bool = False):
        super().__init__()
        self.detach = detach
        self.layers = nn.Sequential(
            nn.LayerNorm(hidden_size), nn.Linear(hidden_size, width), nn.SiLU(), nn.Linear(width, outputs)
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, hidden_RH: Tensor) -> Tensor:
        """Values [R, V] in the head's own precision, whatever autocast says."""
        weight = self.layers[-1].weight
        with torch.autocast(weight.device.type, enabled=False):
            return self.layers((hidden_RH.detach() if self.detach else hidden_RH).to(weight.dtype))


def load_value_head(config: Any, hidden_size: int, folder: str, device: torch.device) -> ValueHead | None:
    """The head that a policy's settings ask for: from the checkpoint where it has one, else new.

    Args:
        config: `ValueHeadConfig`, or None for no head.
        folder: the checkpoint; a hub name holds no head.

    Raises:
        CheckpointError: the checkpoint's head is of another shape.
    """
    if config is None:
        return None
    head = ValueHead(hidden_size, config.width, config.outputs, config.detach)
    path = Path(folder) / FILE
    if path.is_file():
        from safetensors.torch import load_file

        try:
            head.load_state_dict(load_file(path))
        except RuntimeError:
            raise CheckpointError(
                f"'{path}' does not fit policy.value_head (width {config.width}, outputs {config.outputs}, hidden size "
                f"{hidden_size}); restore the settings it was trained with, or delete the file to start anew"
            ) from None
    return head.to(device)


def save_value_head(head: ValueHead | None, folder: Path) -> None:
    """Writes the head beside the model, where there is one."""
    if head is not None:
        from safetensors.torch import save_file

        save_file({name: tensor.detach().contiguous() for name, tensor in head.state_dict().items()}, folder / FILE)


def head_parameters(head: ValueHead | None) -> Iterator[tuple[str, nn.Parameter, str]]:
    """(name, parameter, "value") of the head, for `Policy.trainable`."""
    if head is not None:
        for name, parameter in head.named_parameters():
            yield PREFIX + name, parameter, "value"


def first_of_rows(values_NH: Tensor, mask_RU: Tensor) -> Tensor:
    """The entry of each row's first unit: [N, H] over the units of all rows, row by row, to [R, H]."""
    lengths_R = mask_RU.sum(1)
    return values_NH.index_select(0, (lengths_R.cumsum(0) - lengths_R).to(values_NH.device))
