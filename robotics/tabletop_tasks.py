"""The tabletop's tasks: what each shows, when it is solved, how far along it is, and how the expert acts.

A new task is a class with these members and a line in TASKS.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from robotics import tabletop_expert as expert
from robotics.tabletop_world import PLACE_RADIUS, REACH_RADIUS, World, distance

DIAGONAL = 2.0**0.5


class Task(Protocol):
    """Every member that takes a World works on all B worlds at once, whatever their task."""

    zones: str  # "none", "mark" (one goal mark), "any" (random colours) or "own" (the blocks' colours)
    pushable: bool
    graspable: bool
    max_steps: int

    def instruction(self, block: str, zone: str) -> str:
        """Instruction for the names of block 0's and zone 0's colours."""

    def success(self, world: World) -> Tensor:
        """bool [B]."""

    def progress(self, world: World) -> Tensor:
        """float32 [B] in [0, 1], for the dense reward."""

    def expert(self, world: World) -> Tensor:
        """float32 [B, 3]."""


def _nearness(gap: Tensor) -> Tensor:
    return 1.0 - gap / DIAGONAL


def _placed_BK(world: World) -> Tensor:
    """Blocks that lie released in the zone of their own index."""
    return (distance(world.blocks_BK2, world.zones_BK2) < PLACE_RADIUS) & ~world.held_BK()


class Reach:
    """Move the gripper to the named block. Blocks stay where they are."""

    zones, pushable, graspable, max_steps = "none", False, False, 16

    def instruction(self, block: str, zone: str) -> str:
        return f"reach the {block} block"

    def success(self, world: World) -> Tensor:
        return distance(world.gripper_B2, world.blocks_BK2[:, 0]) < REACH_RADIUS

    def progress(self, world: World) -> Tensor:
        return _nearness(distance(world.gripper_B2, world.blocks_BK2[:, 0]))

    def expert(self, world: World) -> Tensor:
        return expert.hover_to(world, world.blocks_BK2[:, 0])


class Push:
    """Push the named block to the goal mark with the closed gripper. Blocks cannot be grasped."""

    zones, pushable, graspable, max_steps = "mark", True, False, 24

    def instruction(self, block: str, zone: str) -> str:
        return f"push the {block} block to the goal mark"

    def success(self, world: World) -> Tensor:
        return distance(world.blocks_BK2[:, 0], world.zones_BK2[:, 0]) < PLACE_RADIUS

    def progress(self, world: World) -> Tensor:
        block_B2 = world.blocks_BK2[:, 0]
        return 0.3 * _nearness(distance(world.gripper_B2, block_B2)) + 0.7 * _nearness(
            distance(block_B2, world.zones_BK2[:, 0])
        )

    def expert(self, world: World) -> Tensor:
        return expert.push(world, world.blocks_BK2[:, 0], world.zones_BK2[:, 0])


class PickPlace:
    """Grasp the named block and release it on the named zone."""

    zones, pushable, graspable, max_steps = "any", True, True, 24

    def instruction(self, block: str, zone: str) -> str:
        return f"put the {block} block on the {zone} zone"

    def success(self, world: World) -> Tensor:
        return _placed_BK(world)[:, 0]

    def progress(self, world: World) -> Tensor:
        block_B2 = world.blocks_BK2[:, 0]
        gripper_near_B = _nearness(distance(world.gripper_B2, block_B2))
        grasped_B = ((world.held_B == 0) | self.success(world)).to(block_B2.dtype)
        return 0.3 * gripper_near_B + 0.2 * grasped_B + 0.5 * _nearness(distance(block_B2, world.zones_BK2[:, 0]))

    def expert(self, world: World) -> Tensor:
        first_B = torch.zeros_like(world.held_B)
        return expert.pick_place(world, first_B, world.zones_BK2)


class Sort:
    """Put every block in the zone of its own colour."""

    zones, pushable, graspable, max_steps = "own", True, True, 48

    def instruction(self, block: str, zone: str) -> str:
        return "put each block in the zone of its own colour"

    def success(self, world: World) -> Tensor:
        return _placed_BK(world).all(dim=1)

    def progress(self, world: World) -> Tensor:
        dtype = world.gripper_B2.dtype
        placed_BK, held_BK = _placed_BK(world), world.held_BK()
        underway_BK = 0.5 * _nearness(distance(world.blocks_BK2, world.zones_BK2)) + 0.1 * held_BK.to(dtype)
        value_BK = torch.where(placed_BK, 1.0, underway_BK)
        gap_BK = distance(world.gripper_B2[:, None], world.blocks_BK2).masked_fill(placed_BK, DIAGONAL)
        near_B = torch.where(placed_BK.all(dim=1), 1.0, _nearness(gap_BK.min(dim=1).values))
        return 0.9 * value_BK.mean(dim=1) + 0.1 * near_B

    def expert(self, world: World) -> Tensor:
        # Distance in steps: on the way to the nearest block no other becomes nearer, so the choice never swings.
        steps_BK = (world.blocks_BK2 - world.gripper_B2[:, None]).abs().amax(dim=2)
        nearest_B = steps_BK.masked_fill(_placed_BK(world), 9.0).argmin(dim=1)
        chosen_B = torch.where(world.held_B >= 0, world.held_B, nearest_B)
        return expert.pick_place(world, chosen_B, world.zones_BK2)


TASKS: dict[str, Task] = {"reach": Reach(), "push": Push(), "pick_place": PickPlace(), "sort": Sort()}
