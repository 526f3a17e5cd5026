"""Tabletop worlds as tensors, and their physics.

The table is the unit square seen from above: x to the right, y downwards, both in table widths. An open gripper is
raised and passes over blocks. Closing it lowers it: around a block within GRASP_RADIUS it grasps, otherwise it is a
fist that pushes blocks aside. A held block is carried above the others. Blocks do not collide with each other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

STEP = 0.15  # gripper travel of a full action, per axis
BLOCK_HALF = 0.055
FIST_RADIUS = 0.03
ZONE_HALF = 0.08
CONTACT = BLOCK_HALF + FIST_RADIUS  # blocks count as discs of BLOCK_HALF when pushed
GRASP_RADIUS = 0.05
REACH_RADIUS = 0.07
PLACE_RADIUS = 0.07
# A full diagonal step moves less than CONTACT in each part, so a fist cannot jump over a block.
SWEEP_PARTS = 4

ACTION_DIM = 3

COLOURS = {
    "red": (214, 40, 40),
    "green": (36, 150, 60),
    "blue": (40, 80, 214),
    "yellow": (240, 200, 20),
    "purple": (150, 50, 190),
    "cyan": (30, 190, 205),
}
ABSENT = -1
GOAL_MARK = len(COLOURS)  # zone colour of the push task's goal mark


@dataclass(frozen=True)
class World:
    """B worlds with K blocks and K zones each. Block 0 and zone 0 are the ones that the instruction names.

    gripper_B2, blocks_BK2, zones_BK2: float32, table widths. closed_B: bool. held_B: int64, block index or -1.
    task_B: int64, index into the task table. block_colour_BK, zone_colour_BK: int64, index into COLOURS, ABSENT
    or GOAL_MARK.
    """

    gripper_B2: Tensor
    closed_B: Tensor
    held_B: Tensor
    blocks_BK2: Tensor
    block_colour_BK: Tensor
    zones_BK2: Tensor
    zone_colour_BK: Tensor
    task_B: Tensor

    def to(self, device: torch.device | str) -> World:
        """The same worlds on `device`."""
        return World(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def put(self, worlds_W: Tensor, other: World) -> World:
        """The same worlds with those at `worlds_W` (int64 [W]) replaced by the W worlds of `other`."""
        return World(
            **{
                field.name: getattr(self, field.name).index_copy(0, worlds_W, getattr(other, field.name))
                for field in fields(self)
            }
        )

    def take(self, worlds_W: Tensor) -> World:
        """The W worlds at `worlds_W` (int64 [W])."""
        return World(**{field.name: getattr(self, field.name)[worlds_W] for field in fields(self)})

    def held_BK(self) -> Tensor:
        """bool [B, K]: which block is held."""
        return self.held_B[:, None] == torch.arange(self.blocks_BK2.shape[1], device=self.held_B.device)

    def state_BS(self) -> Tensor:
        """float32 [B, 4]: gripper x, y, closed (0 or 1), holding (0 or 1)."""
        flags_B2 = torch.stack([self.closed_B, self.held_B >= 0], dim=1)
        return torch.cat([self.gripper_B2, flags_B2.to(self.gripper_B2.dtype)], dim=1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance over the last dim of 2."""
    # Spelled out because reductions and fused multiply-adds may round differently from one batch shape to another.
    delta = a - b
    return (delta[..., 0] * delta[..., 0] + delta[..., 1] * delta[..., 1]).sqrt()


def step_world(world: World, action_BA: Tensor, active_B: Tensor, pushable_B: Tensor, graspable_B: Tensor) -> World:
    """Move each gripper by `action_BA[:, :2]`, then open or close it; worlds outside `active_B` stay as they are.

    action_BA: float32 [B, 3] in [-1, 1]; the third closes the gripper where it is positive, else opens it.
    pushable_B, graspable_B: bool [B], whether the world's blocks give way to the fist and fit the gripper.
    """
    end_B2 = (world.gripper_B2 + action_BA[:, :2] * STEP).clamp(0.0, 1.0)
    fist_B = world.closed_B & (world.held_B < 0) & pushable_B
    blocks_BK2 = _sweep(world.blocks_BK2, world.gripper_B2, end_B2, fist_B)
    blocks_BK2 = torch.where(world.held_BK()[..., None], end_B2[:, None], blocks_BK2)

    close_B = action_BA[:, 2] > 0
    gap_B, nearest_B = distance(blocks_BK2, end_B2[:, None]).min(dim=1)
    grasps_B = close_B & ~world.closed_B & graspable_B & (gap_B < GRASP_RADIUS)
    held_B = torch.where(close_B, world.held_B, -1)
    held_B = torch.where(grasps_B, nearest_B, held_B)

    moved = replace(
        world,
        gripper_B2=torch.where(active_B[:, None], end_B2, world.gripper_B2),
        closed_B=torch.where(active_B, close_B, world.closed_B),
        held_B=torch.where(active_B, held_B, world.held_B),
        blocks_BK2=torch.where(active_B[:, None, None], blocks_BK2, world.blocks_BK2),
    )
    # A grasped block is centred in the gripper.
    return replace(
        moved, blocks_BK2=torch.where(moved.held_BK()[..., None], moved.gripper_B2[:, None], moved.blocks_BK2)
    )


def _sweep(blocks_BK2: Tensor, start_B2: Tensor, end_B2: Tensor, fist_B: Tensor) -> Tensor:
    """Push blocks out of the fist's way along its path; they stop at the table's edge."""
    for part in range(1, SWEEP_PARTS + 1):
        fist_B2 = start_B2 + (end_B2 - start_B2) * (part / SWEEP_PARTS)
        offset_BK2 = blocks_BK2 - fist_B2[:, None]
        gap_BK = distance(blocks_BK2, fist_B2[:, None])
        pushed_BK2 = fist_B2[:, None] + offset_BK2 / gap_BK.clamp_min(1e-6)[..., None] * CONTACT
        pushed_BK2 = pushed_BK2.clamp(BLOCK_HALF, 1.0 - BLOCK_HALF)
        touched_BK = fist_B[:, None] & (gap_BK < CONTACT)
        blocks_BK2 = torch.where(touched_BK[..., None], pushed_BK2, blocks_BK2)
    return blocks_BK2
