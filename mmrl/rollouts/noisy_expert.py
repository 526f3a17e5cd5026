"""An expert that errs: demonstrations of mixed quality, for offline RL."""

from __future__ import annotations

import torch
from torch import Tensor

from mmrl.contracts.types import Sample
from robotics.counter_rng import uniform, world_keys

# Apart from whatever else is drawn by an episode's id.
STREAM = 0x6E6F697379


def disturb(action_A: Tensor, sample: Sample, step: int) -> Tensor:
    """The expert's action, or one drawn uniformly from [-1, 1], float32 [A].

    With chance `sample.expert_noise` it is the latter. The draw depends on the episode's id and the step alone: a
    dataset of such episodes is the same every time it is played.

    Args:
        step: of the episode, from 0.
    """
    if not sample.expert_noise:
        return action_A
    key_B = world_keys(torch.tensor([sample.episode]), STREAM + step)
    draws_N = uniform(key_B, torch.arange(1 + len(action_A)))[0]
    return 2 * draws_N[1:] - 1 if float(draws_N[0]) < sample.expert_noise else action_A
