"""Actions as tokens: 256 uniform bins in [-1, 1] on the last ids of the vocabulary (arXiv 2406.09246, sec. 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmrl.contracts.errors import ConfigError
from mmrl.policies.statistics import Bounds, cure_of_sizes
from mmrl.recipe.policies.openvla import Gripper


@dataclass(frozen=True, slots=True)
class ActionTokens:
    """The map between a simulator's actions and token ids.

    A value x falls in bin d = digitize(x, linspace(-1, 1, bins)), which runs from 1 to `bins`, and has the id
    vocabulary - d: the last id is the lowest value. It reads back as the centre of its interval, of which there are
    bins - 1; d = bins, which only x = 1 reaches, reads back as d = bins - 1 does.

    Attributes:
        vocabulary: ids of the tokenizer, without the rows that pad the embedding.
        bins: n_action_bins.
        bounds: of the actions.
        gripper: `as_is`, or `zero_one_open` where the last dimension of the demonstrations is 0 closed, 1 open and
            the simulator's is 1 close, -1 open (LIBERO).
        family: the `policy.type`, for error messages.
    """

    vocabulary: int
    bins: int
    bounds: Bounds
    gripper: Gripper = "as_is"
    family: str = "openvla"

    @property
    def action_dim(self) -> int:
        """Dimensions of one action."""
        return len(self.bounds.low_A)

    def check(self, action_dim: int) -> None:
        """Raises ConfigError unless the simulator's actions have as many dimensions as the statistics."""
        if action_dim != self.action_dim:
            raise ConfigError(
                f"the simulator's actions have {action_dim} dimensions and the policy's normalisation statistics "
                f"{self.action_dim}; {cure_of_sizes(self.family, 'action', action_dim)}"
            )

    def encode(self, actions_BCA: Tensor) -> Tensor:
        """int64 [B, C * A]: ids of the simulator's actions."""
        self.check(actions_BCA.shape[-1])
        values = actions_BCA.double()
        if self.gripper == "zero_one_open":
            values = torch.cat([values[..., :-1], (values[..., -1:] < 0).double()], -1)
        edges = torch.linspace(-1, 1, self.bins, dtype=torch.float64)
        bin_ = torch.bucketize(self.bounds.normalise(values), edges, right=True)
        return (self.vocabulary - bin_).flatten(1)

    def decode(self, ids_BU: Tensor) -> Tensor:
        """float32 [B, C, A]: the simulator's actions of C x A ids."""
        edges = torch.linspace(-1, 1, self.bins, dtype=torch.float64)
        centres = (edges[:-1] + edges[1:]) / 2
        interval = (self.vocabulary - ids_BU.cpu() - 1).clamp(0, self.bins - 2)
        actions = self.bounds.restore(centres[interval].unflatten(1, (-1, self.action_dim)))
        if self.gripper == "zero_one_open":
            opened = actions[..., -1:] > 0.5
            actions = torch.cat([actions[..., :-1], torch.where(opened, -1.0, 1.0).double()], -1)
        return actions.float()
