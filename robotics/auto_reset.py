"""Episodes back to back: a world that finished starts its next episode at the end of the chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from robotics.base import VectorEnv
from robotics.types import Observation, StepResult
from robotics.wrapper import Wrapper


class AutoReset(Wrapper):
    """The worlds of `env`, reset on their own to the next of `next_ids` (an endless iterator of start ids).

    A chunk still ends with its episode: steps after the end are not valid, and the next episode begins with the next
    chunk. A `StepResult` then shows the new start and carries, in `info`:
        `restarted`: bool [B], worlds whose episode ended with this chunk; their other records are of that episode.
        `final_observation`: the Observation before the restarts, to bootstrap a truncated episode's value from.
        `id`: int64 [B], the start id of each world's episode in this chunk.
    """

    def __init__(self, env: VectorEnv, next_ids: Iterator[int]):
        super().__init__(env)
        self._next_ids = next_ids

    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """See `VectorEnv.reset`; `ids` are the first episodes'."""
        observation = self.env.reset(ids, worlds)
        ids_B = torch.as_tensor(ids, dtype=torch.int64)
        self._ids_B = ids_B if worlds is None else self._ids_B.index_copy(0, torch.as_tensor(worlds), ids_B)
        return observation

    def chunk_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.chunk_step` and the class."""
        result = self.env.chunk_step(actions)
        ids_B, observation = self._ids_B, result.observation
        restarted_B = result.info["done"]
        worlds = restarted_B.nonzero()[:, 0].cpu()
        if len(worlds):
            observation = self.reset([next(self._next_ids) for _ in worlds], worlds)
        info = {**result.info, "restarted": restarted_B, "final_observation": result.observation, "id": ids_B}
        return replace(result, observation=observation, info=info)
