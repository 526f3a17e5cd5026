"""Per-step masks and per-episode records, shared by the simulators."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepRecord:
    """One counted step of B worlds: reward float32 [B], terminated, truncated, valid bool [B]."""

    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor


class EpisodeTracker:
    """Keeps which worlds still run, and success, return and length of each episode.

    Tensors are replaced, never written in place, so those handed out in `info()` stay as they were.
    """

    def __init__(
        self, num_envs: int, max_steps: int, device: torch.device | str = "cpu", terminate_on_success: bool = True
    ):
        self.num_envs, self.max_steps, self.device = num_envs, max_steps, device
        self.terminate_on_success = terminate_on_success
        false_B = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self.done_B, self.success_once_B, self.success_at_end_B, self.dropped_B = ~false_B, false_B, false_B, false_B
        self.return_B = torch.zeros(num_envs, device=device)
        self.length_B = torch.zeros(num_envs, dtype=torch.int64, device=device)

    def reset(self, worlds_W: Tensor | None = None) -> None:
        """Begin a new episode in every world, or in `worlds_W` (int64 indices). Before that a world is done."""
        for name in ("done_B", "success_once_B", "success_at_end_B", "return_B", "length_B"):
            record_B = getattr(self, name)
            if worlds_W is None:
                setattr(self, name, torch.zeros_like(record_B))
            else:
                setattr(self, name, record_B.index_fill(0, worlds_W.to(record_B.device), 0))

    @property
    def active_B(self) -> Tensor:
        """bool [B]: worlds whose next step counts."""
        return ~self.done_B

    def step(self, reward_B: Tensor, success_B: Tensor, failure_B: Tensor | None = None) -> StepRecord:
        """Record one step. `failure_B`: worlds that end without success. Finished worlds are left as they are."""
        valid_B = self.active_B
        ends_B = success_B if self.terminate_on_success else torch.zeros_like(success_B)
        if failure_B is not None:
            ends_B = ends_B | failure_B
        terminated_B = valid_B & ends_B
        self.length_B = self.length_B + valid_B
        truncated_B = valid_B & ~ends_B & (self.length_B >= self.max_steps)
        reward_B = torch.where(valid_B, reward_B, 0.0)
        self.return_B = self.return_B + reward_B
        self.success_once_B = self.success_once_B | (valid_B & success_B)
        self.success_at_end_B = torch.where(valid_B, success_B, self.success_at_end_B)
        self.done_B = self.done_B | terminated_B | truncated_B
        return StepRecord(reward_B, terminated_B, truncated_B, valid_B)

    def info(self) -> dict[str, Tensor]:
        """The `info` of a StepResult."""
        return {
            "success_once": self.success_once_B,
            "success_at_end": self.success_at_end_B,
            "return": self.return_B,
            "episode_len": self.length_B,
            "done": self.done_B,
            "dropped": self.dropped_B,
        }


def stack_steps(records: list[StepRecord]) -> dict[str, Tensor]:
    """The records of a chunk as [B, C] tensors, by the field names of StepResult."""
    fields = ("reward", "terminated", "truncated", "valid")
    return {field: torch.stack([getattr(record, field) for record in records], dim=1) for field in fields}
