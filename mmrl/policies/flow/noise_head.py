"""Flow-Noise's learned deviation (arXiv 2510.25889): from the expert's states to the noise of each action dimension.

It is kept beside the model, in `noise_head.safetensors`, so that the model's own files stay what the hub expects.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import CheckpointError

FILE = "noise_head.safetensors"
WIDTHS = (128, 64)


class NoiseHead(nn.Module):
    """States [..., H] to deviations float32 [..., D] within [low, high].

    log std^2 lies between those of low and high, at the share (tanh + 1) / 2. The last layer starts at 0: the
    geometric mean of low and high.
    """

    def __init__(self, hidden_size: int, dims: int, low: float, high: float):
        super().__init__()
        self.low, self.high = 2 * math.log(low), 2 * math.log(high)
        first, second = WIDTHS
        self.layers = nn.Sequential(
            nn.Linear(hidden_size, first), nn.Tanh(), nn.Linear(first, second), nn.Tanh(), nn.Linear(second, dims)
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Deviations in the head's own precision, whatever autocast says."""
        weight = self.layers[-1].weight
        with torch.autocast(weight.device.type, enabled=False):
            share = (self.layers(hidden.to(weight.dtype)).tanh() + 1) / 2
            return (0.5 * (self.low + (self.high - self.low) * share)).exp()


def load_noise_head(head: NoiseHead, folder: Path) -> NoiseHead:
    """The head with the folder's weights, where it has some. Raises CheckpointError on weights of another shape."""
    path = folder / FILE
    if path.is_file():
        from safetensors.torch import load_file

        try:
            head.load_state_dict(load_file(path))
        except RuntimeError:
            raise CheckpointError(f"'{path}' is of a model of another size; delete it to start anew") from None
    return head


def save_noise_head(state: dict[str, Tensor], folder: Path) -> None:
    """Writes the head's weights beside the model."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().contiguous() for name, tensor in state.items()}, folder / FILE)
