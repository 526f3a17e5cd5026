"""Pictures of the table from above: distance fields of squares and discs over small patches of pixels, batched."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robotics.tabletop_world import BLOCK_HALF, COLOURS, FIST_RADIUS, GOAL_MARK, ZONE_HALF, World

TABLE = (226, 216, 198)
GRIPPER = (20, 20, 24)
MARK = (255, 255, 255)
TINT = 0.45  # how much of its colour a zone's inside has; the rest is table
OPEN_OUTER, OPEN_INNER = 0.055, 0.025
# Zones have a border of their full colour; wide enough for two pixels at 56.
BORDER = 0.03


def square(x: Tensor, y: Tensor) -> Tensor:
    """Distance field whose level set r is the square of half side r."""
    return torch.maximum(x.abs(), y.abs())


def disc(x: Tensor, y: Tensor) -> Tensor:
    """Distance field whose level set r is the circle of radius r."""
    return (x * x + y * y).sqrt()


def _pack(rgb: tuple[float, float, float]) -> int:
    # Red in the lowest byte: a little-endian int32 then reads as bytes R, G, B, 0.
    red, green, blue = (round(value) for value in rgb)
    return red | green << 8 | blue << 16


def _tint(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    return tuple(TINT * value + (1.0 - TINT) * table for value, table in zip(rgb, TABLE))


class Renderer:
    """Draws worlds at `image_size` x `image_size` pixels; the table fills the picture.

    zone_slots: how many zones any world can show; the others are not drawn.
    """

    def __init__(self, image_size: int, zone_slots: int, device: torch.device | str):
        self.size, self.zone_slots = image_size, zone_slots
        self.pad = self._reach(ZONE_HALF)
        full = [_pack(rgb) for rgb in (*COLOURS.values(), MARK)]
        tint = [_pack(_tint(rgb)) for rgb in COLOURS.values()] + [_pack(MARK)]
        self.full_N = torch.tensor(full, dtype=torch.int32, device=device)
        self.tint_N = torch.tensor(tint, dtype=torch.int32, device=device)

    def __call__(self, world: World) -> Tensor:
        """uint8 [B, H, W, 3] of the B worlds."""
        batch, num_blocks, _ = world.blocks_BK2.shape
        side = self.size + 2 * self.pad
        canvas = torch.full((batch, side * side), _pack(TABLE), dtype=torch.int32, device=world.gripper_B2.device)
        for slot in range(self.zone_slots):
            colour_B, centre_B2 = world.zone_colour_BK[:, slot], world.zones_BK2[:, slot]
            present_B, colour_B = colour_B >= 0, colour_B.clamp_min(0)
            round_B = colour_B == GOAL_MARK
            self._paint(canvas, centre_B2, square, self.full_N[colour_B], ZONE_HALF, present_B & ~round_B)
            self._paint(canvas, centre_B2, square, self.tint_N[colour_B], ZONE_HALF - BORDER, present_B & ~round_B)
            self._paint(canvas, centre_B2, disc, self.full_N[colour_B], ZONE_HALF, present_B & round_B)
        for slot in range(num_blocks):
            colour_B = self.full_N[world.block_colour_BK[:, slot]]
            self._paint(canvas, world.blocks_BK2[:, slot], square, colour_B, BLOCK_HALF)
        self._paint_gripper(canvas, world)
        inner = canvas.view(batch, side, side)[:, self.pad : -self.pad, self.pad : -self.pad].contiguous()
        # Each int32 [B, side, side] is read as four bytes; the fourth holds nothing.
        return inner.view(torch.uint8).view(batch, self.size, self.size, 4)[..., :3].contiguous()

    def _paint_gripper(self, canvas: Tensor, world: World) -> None:
        outer_B = torch.where(world.closed_B, FIST_RADIUS, OPEN_OUTER)
        inner_B = torch.where(world.closed_B, -1.0, OPEN_INNER)
        colour_B = torch.full_like(outer_B, _pack(GRIPPER), dtype=torch.int32)
        self._paint(canvas, world.gripper_B2, disc, colour_B, OPEN_OUTER, within=(inner_B, outer_B))

    def _reach(self, extent: float) -> int:
        """Pixels from a centre's own pixel that a shape of radius `extent` can touch."""
        return math.ceil(extent * self.size) + 1

    def _paint(
        self,
        canvas: Tensor,
        centre_B2: Tensor,
        field: Callable[[Tensor, Tensor], Tensor],
        colour_B: Tensor,
        extent: float,
        present_B: Tensor | None = None,
        within: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Paint, in place, the pixels around each centre whose field is under `extent` and `within` per-world levels.

        Only a patch around the centre is touched. The padding is half the largest patch, so none leaves the canvas.
        """
        side, reach = self.size + 2 * self.pad, self._reach(extent)
        offset_P = torch.arange(-reach, reach, device=canvas.device)
        pixel_BP2 = (centre_B2 * self.size).round().to(torch.int64)[:, None] + offset_P[:, None]
        gap_BP2 = (pixel_BP2 + 0.5) / self.size - centre_B2[:, None]
        # Rows of the patch run along y and columns along x.
        field_BPP = field(gap_BP2[:, None, :, 0], gap_BP2[:, :, None, 1])
        inside_BPP = field_BPP < extent
        if within is not None:
            low_B, high_B = within
            inside_BPP &= (field_BPP > low_B[:, None, None]) & (field_BPP < high_B[:, None, None])
        if present_B is not None:
            inside_BPP &= present_B[:, None, None]
        index_BPP = (pixel_BP2[:, :, None, 1] + self.pad) * side + pixel_BP2[:, None, :, 0] + self.pad
        index_BQ = index_BPP.flatten(1)
        painted_BQ = torch.where(inside_BPP.flatten(1), colour_B[:, None], canvas.gather(1, index_BQ))
        canvas.scatter_(1, index_BQ, painted_BQ)
