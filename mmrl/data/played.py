"""Episodes that a policy played, as a stage that generates writes them: a demonstration of actions per row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.formats import Format
from mmrl.data.messages import read_turns


def read_played(row: Columns) -> Sample:
    """A decision: messages (the instruction), images by cameras, state, and the actions and rewards that followed."""
    actions_CA = _numbers(row, "actions", 2)
    state_S = _numbers(row, "state", 1) if row.has("state") else None
    images = row.media("image")
    cameras = row.any("cameras") if row.has("cameras") else []
    if not isinstance(cameras, list) or (cameras and len(cameras) != len(images)):
        raise row.bad(f"column '{row.called('cameras')}' names {cameras!r}, and the row has {len(images)} pictures")
    rewards = _numbers(row, "rewards", 1) if row.has("rewards") else torch.zeros(0)
    sample = row.sample(
        read_turns(row, "messages", answered=False).messages,
        row.task_of("task"),
        {},
        images=images,
        demonstration=None,
        own_id=True,
    )
    named = tuple(map(str, cameras))
    return replace(sample, actions=actions_CA, state=state_S, rewards=tuple(rewards.tolist()), cameras=named)


def _numbers(row: Columns, column: str, dims: int) -> Tensor:
    """float32, a column's numbers in so many dimensions. Raises BadSample on anything else."""
    written: Any = row.any(column)
    try:
        values = torch.tensor(written, dtype=torch.float32)
    except (TypeError, ValueError):
        values = torch.zeros(0)
    if values.dim() != dims or not values.numel() or not bool(values.isfinite().all()):
        raise row.bad(f"column '{row.called(column)}' holds no finite numbers in {dims} dimensions: {written!r:.60}")
    return values


PLAYED = Format(
    read_played,
    (("messages",), ("actions",), ("simulator",), ("step",)),
    absent=("target", "demonstration", "completion"),
)
