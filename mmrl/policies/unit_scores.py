"""What the trainer's forward pass gives for units that somebody else sampled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmrl.contracts.policy import Policy, without_dropout
from mmrl.contracts.types import PolicyBatch, Prompt


@torch.no_grad()
def unit_log_probs(policy: Policy, prompts: Sequence[Prompt], units: Sequence[Tensor]) -> list[Tensor]:
    """float32 [U] on the CPU for each prompt: log-probs of its units at temperature 1, without dropout.

    Args:
        units: int64 [U], of each prompt.
    """
    tokens_RU = pad_sequence(list(units), batch_first=True)
    lengths_R = torch.tensor([len(each) for each in units])
    mask_RU = torch.arange(tokens_RU.shape[1]) < lengths_R[:, None]
    with without_dropout(policy):
        likelihood = policy.log_probs(PolicyBatch(prompts, torch.arange(len(prompts)), tokens_RU, mask_RU))
    return [row[:length] for row, length in zip(likelihood.log_probs_RU.cpu(), lengths_R.tolist())]
