"""How a ManiSkill gripper's command is read: as its controller has it, or as other simulators and checkpoints do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robotics.settings import MANISKILL_GRIPPERS


def gripper_dims(base: Any, gripper: str) -> list[int]:
    """The dims of joined actions that open and close a gripper; none where commands stay as they are.

    Raises:
        ValueError: `gripper` asks for another reading, and a robot has no gripper whose one dim opens upwards.
    """
    if gripper == MANISKILL_GRIPPERS[0]:
        return []
    dims, first = [], 0
    for robot in getattr(base.agent, "agents", [base.agent]):
        start, end = getattr(robot.controller, "action_mapping", {}).get("gripper", (0, 0))
        if end - start != 1:
            raise ValueError(
                f"maniskill: gripper={gripper!r} is not allowed for robot {robot.uid!r}, which has no gripper of one "
                f"action dim with control_mode={robot.control_mode!r}; allowed: {MANISKILL_GRIPPERS[0]}"
            )
        dims.append(first + start)
        first += len(robot.controller.single_action_space.low)
    return dims


def to_controller(actions: Tensor, dims: list[int], gripper: str) -> Tensor:
    """Actions [..., A] with the commands in `dims` as the controller reads them: 1 opens, -1 closes."""
    if not dims:
        return actions
    command = actions[..., dims]
    opened = torch.where(command > 0.5, 1.0, -1.0) if gripper == "open_fraction" else -command
    return _replace_dims(actions, dims, opened)


def from_controller(actions: Tensor, dims: list[int], gripper: str) -> Tensor:
    """Actions [..., A] of the controller with the commands in `dims` as `gripper` reads them."""
    if not dims:
        return actions
    opened = actions[..., dims]
    return _replace_dims(actions, dims, (opened > 0).to(actions.dtype) if gripper == "open_fraction" else -opened)


def _replace_dims(actions: Tensor, dims: list[int], commands: Tensor) -> Tensor:
    changed = actions.clone()
    changed[..., dims] = commands
    return changed
