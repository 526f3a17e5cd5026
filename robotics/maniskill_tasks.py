"""What ManiSkill leaves out of its tasks: an instruction in words, and experts that see the whole state."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

INSTRUCTIONS = {
    "LiftPegUpright-v1": "lift the peg and stand it upright",
    "PegInsertionSide-v1": "insert the peg into the hole in the box",
    "PickCube-v1": "pick up the red cube and hold it at the green goal",
    "PlaceSphere-v1": "pick up the sphere and place it in the bin",
    "PlugCharger-v1": "plug the charger into the receptacle",
    "PokeCube-v1": "poke the cube with the peg",
    "PullCube-v1": "pull the blue cube onto the target",
    "PullCubeTool-v1": "pull the cube closer with the tool",
    "PushCube-v1": "push the blue cube onto the target",
    "PushT-v1": "push the T-shaped block onto its outline",
    "RollBall-v1": "roll the ball to the goal",
    "StackCube-v1": "stack the red cube on the green cube",
    "StackPyramid-v1": "build a pyramid from the three cubes",
    "TurnFaucet-v1": "turn on the faucet",
}

# The experts move the hand; a full action is EXPERT_STEP metres along an axis, and the last dim opens the gripper.
EXPERT_CONTROL = "pd_ee_delta_pos"
EXPERT_STEP = 0.1
OPEN, CLOSED = 1.0, -1.0
# Metres per step while shoving: the arm has no solution for some longer reaches.
SHOVE = 0.05


def instructions(base: Any, task: str, instruction: str | None) -> list[str]:
    """One per world: `instruction`, else the task's own, else the table's, else the words of the task's name."""
    if instruction is not None:
        return [instruction] * base.num_envs
    if hasattr(base, "get_language_instruction"):
        return list(base.get_language_instruction())
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|-v\d+$|[-_]", " ", task)
    return [INSTRUCTIONS.get(task, " ".join(words.lower().split()))] * base.num_envs


def _act(base: Any, target_B3: Tensor, grip_B: Tensor) -> Tensor:
    move_B3 = (target_B3 - base.agent.tcp.pose.p) / EXPERT_STEP
    return torch.cat([move_B3.clamp(-1.0, 1.0), grip_B[:, None]], dim=1)


def pick_cube(base: Any) -> Tensor:
    """Float32 [B, 4]: over the cube, down, close, and to the goal."""
    tcp_B3, cube_B3, goal_B3 = base.agent.tcp.pose.p, base.cube.pose.p, base.goal_site.pose.p
    held_B = base.agent.is_grasping(base.cube)
    aside_B = (tcp_B3 - cube_B3)[:, :2].norm(dim=1)
    above_B3 = cube_B3 + torch.tensor([0.0, 0.0, 0.06], device=cube_B3.device)
    target_B3 = torch.where((aside_B < 0.015)[:, None], cube_B3, above_B3)
    target_B3 = torch.where(held_B[:, None], tcp_B3 + goal_B3 - cube_B3, target_B3)
    around_B = (tcp_B3 - cube_B3).norm(dim=1) < 0.015
    return _act(base, target_B3, torch.where(held_B | around_B, CLOSED, OPEN))


def _shove(base: Any, side: float, height: float) -> Tensor:
    """Go beside the cube at `side` metres along x, over it where it is in the way, and move it to the goal."""
    tcp_B3, cube_B3, goal_B3 = base.agent.tcp.pose.p, base.obj.pose.p, base.goal_region.pose.p
    beside_B3 = cube_B3 + torch.tensor([side, 0.0, 0.0], device=cube_B3.device)
    beside_B3 = torch.cat([beside_B3[:, :2], torch.full_like(beside_B3[:, 2:], height)], dim=1)
    past_B = (tcp_B3[:, 0] - cube_B3[:, 0]) * (1.0 if side > 0 else -1.0) > 0.01
    in_line_B = past_B & ((tcp_B3 - beside_B3)[:, 1].abs() < 0.015)
    low_B = in_line_B & (tcp_B3[:, 2] < height + 0.015)
    over_B3 = beside_B3 + torch.tensor([0.0, 0.0, 0.1], device=cube_B3.device)
    ahead_B3 = beside_B3 + torch.cat([(goal_B3 - cube_B3)[:, :2], torch.zeros_like(goal_B3[:, 2:])], dim=1)
    target_B3 = torch.where(in_line_B[:, None], beside_B3, over_B3)
    shove_B3 = tcp_B3 + (ahead_B3 - tcp_B3).clamp(-SHOVE, SHOVE)
    target_B3 = torch.where(low_B[:, None], shove_B3, target_B3)
    return _act(base, target_B3, torch.full_like(tcp_B3[:, 0], CLOSED))


def push_cube(base: Any) -> Tensor:
    """Float32 [B, 4]: behind the cube and forwards."""
    return _shove(base, side=-0.05, height=0.02)


def pull_cube(base: Any) -> Tensor:
    """Float32 [B, 4]: beyond the cube and back."""
    return _shove(base, side=0.05, height=0.02)


EXPERTS: dict[str, Callable[[Any], Tensor]] = {
    "PickCube-v1": pick_cube,
    "PullCube-v1": pull_cube,
    "PushCube-v1": push_cube,
}
