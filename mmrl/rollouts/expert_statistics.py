"""Normalisation statistics of what a simulator's scripted expert does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.data.robot.statistics import compute_statistics
from mmrl.rollouts.noisy_expert import disturb
from mmrl.rollouts.simulators import place_errors
from robotics.base import VectorEnv


def expert_statistics(env: VectorEnv, samples: Sequence[Sample]) -> dict[str, Any]:
    """Statistics of the expert's actions and of the states that it acts in, in the layout of `norm_stats`.

    An episode is played from each sample's start, with the sample's `expert_noise` and with nothing rounded to a
    policy's units. All dimensions are normalised, grippers too: one that only opens (1) and closes (-1) stays as it is,
    and a dimension in which the expert never moves can hold no other value afterwards. An episode in which the
    simulator fails does not count.

    Raises:
        UserError: the simulator failed in all of them, or for good (`mmrl.rollouts.simulators.place_errors`).
    """
    blocks: list[tuple[np.ndarray, np.ndarray]] = []
    for first in range(0, len(samples), env.num_envs):
        blocks += _play(env, samples[first : first + env.num_envs])
    if not blocks:
        raise UserError(f"simulator '{samples[0].simulator}' failed in all {len(samples)} episodes of its expert")
    return {**compute_statistics(blocks, [True] * env.action_dim), "num_trajectories": len(blocks)}


def _play(env: VectorEnv, samples: Sequence[Sample]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(actions float32 [T, A], states float32 [T, S]) of an episode from each start, one in each of the worlds."""
    worlds = list(range(len(samples)))
    simulator, ids = samples[0].simulator, [sample.episode for sample in samples]
    with place_errors(simulator):
        observation = env.reset(ids, None if len(worlds) == env.num_envs else worlds)
    steps: list[list[tuple[Tensor, Tensor]]] = [[] for _ in samples]
    playing = set(worlds)
    while playing:
        with place_errors(simulator):
            advised_BA, states_BS = env.expert_action().cpu(), observation.state.cpu()
        actions_BA = torch.zeros_like(advised_BA)
        for world in sorted(playing):
            actions_BA[world] = disturb(advised_BA[world], samples[world], len(steps[world]))
            steps[world].append((actions_BA[world].clone(), states_BS[world].clone()))
        with place_errors(simulator):
            result = env.chunk_step(actions_BA[:, None])
        # Every world is rendered after a chunk that is played in sight.
        assert result.observation is not None
        observation, dropped, done = result.observation, result.info["dropped"].tolist(), result.info["done"].tolist()
        for world in sorted(playing):
            if dropped[world]:
                steps[world].clear()
            if dropped[world] or done[world]:
                playing.remove(world)
    return [
        (torch.stack([action for action, _ in pairs]).numpy(), torch.stack([state for _, state in pairs]).numpy())
        for pairs in steps
        if pairs
    ]
