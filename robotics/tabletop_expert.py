"""Scripted motions that see the whole world. They act from any state, so they can also label a policy's own states."""

from __future__ import annotations

import torch
from torch import Tensor

from robotics.tabletop_world import CONTACT, STEP, World, distance

OPEN, CLOSE = -1.0, 1.0


def _towards(world: World, target_B2: Tensor) -> tuple[Tensor, Tensor]:
    """Action [B, 2] of one step to the target, and bool [B] whether that step arrives."""
    steps_B2 = (target_B2 - world.gripper_B2) / STEP
    return steps_B2.clamp(-1.0, 1.0), steps_B2.abs().amax(dim=1) <= 1.0


def _act(move_B2: Tensor, grip_B: Tensor) -> Tensor:
    return torch.cat([move_B2, grip_B.to(move_B2.dtype)[:, None]], dim=1)


def hover_to(world: World, target_B2: Tensor) -> Tensor:
    """Go to the target with an open gripper."""
    move_B2, arrives_B = _towards(world, target_B2)
    return _act(move_B2, torch.full_like(arrives_B, OPEN, dtype=move_B2.dtype))


def pick_place(world: World, chosen_B: Tensor, zones_BK2: Tensor) -> Tensor:
    """Grasp block `chosen_B` (int64 [B]) and release it on the zone of the same index."""
    # `gather` picks along K and wants the index once per coordinate.
    index_B12 = chosen_B[:, None, None].expand(-1, 1, 2)
    holds_chosen_B = world.held_B == chosen_B
    target_B2 = torch.where(
        holds_chosen_B[:, None],
        zones_BK2.gather(1, index_B12)[:, 0],
        world.blocks_BK2.gather(1, index_B12)[:, 0],
    )
    move_B2, arrives_B = _towards(world, target_B2)
    # Empty-handed it closes on arrival; holding the block it opens on arrival.
    grip_B = torch.where(arrives_B ^ holds_chosen_B, CLOSE, OPEN)
    # A fist, or a hand around another block, opens first, without moving.
    wait_B = world.closed_B & ~holds_chosen_B
    return _act(move_B2.masked_fill(wait_B[:, None], 0.0), grip_B.masked_fill(wait_B, OPEN))


def push(world: World, block_B2: Tensor, goal_B2: Tensor) -> Tensor:
    """Hover behind the block, close, and push it straight to the goal."""
    heading_B2 = (goal_B2 - block_B2) / distance(goal_B2, block_B2).clamp_min(1e-6)[:, None]
    from_block_B2 = world.gripper_B2 - block_B2
    behind_B = -(from_block_B2 * heading_B2).sum(dim=1)
    aside_B = (from_block_B2[:, 0] * heading_B2[:, 1] - from_block_B2[:, 1] * heading_B2[:, 0]).abs()
    aligned_B = world.closed_B & (aside_B < 0.01) & (behind_B > 0.5 * CONTACT) & (behind_B < 2.0 * CONTACT)

    hover_B2, arrives_B = _towards(world, block_B2 - heading_B2 * (CONTACT + 0.01))
    hover_B2 = hover_B2.masked_fill(world.closed_B[:, None], 0.0)
    grip_B = torch.where(aligned_B | (arrives_B & ~world.closed_B), CLOSE, OPEN)

    # Shortened as a whole: cutting one axis alone would turn the push off its line.
    stroke_B2 = (goal_B2 - heading_B2 * CONTACT - world.gripper_B2) / STEP
    stroke_B2 = stroke_B2 / stroke_B2.abs().amax(dim=1, keepdim=True).clamp_min(1.0)
    return _act(torch.where(aligned_B[:, None], stroke_B2, hover_B2), grip_B)
