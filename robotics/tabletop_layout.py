"""Start states of the tabletop: a pure function of world id, task and the configured blocks and colours."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from robotics.counter_rng import uniform, world_keys
from robotics.tabletop_tasks import TASKS
from robotics.tabletop_world import ABSENT, COLOURS, GOAL_MARK, World

CANDIDATES = 64
SEPARATION = 0.2  # between centres at the start: nothing overlaps and no task starts solved
# Blocks keep off the edge, so that a fist fits behind any of them.
BLOCK_RANGE = (0.2, 0.8)
OTHER_RANGE = (0.1, 0.9)
_COLOUR_COUNTER = 1 << 20
_FAR_AWAY = -9.0


def start_world(ids_B: Tensor, tasks: Sequence[str], num_blocks: int, colours: Sequence[str]) -> World:
    """Worlds `ids_B` (int64 [B], CPU) at their start; world `i` has task `tasks[i % len(tasks)]`.

    Computed on the CPU whatever the simulator's device, so that starts agree between devices too.
    """
    task_index_T = torch.tensor([list(TASKS).index(task) for task in tasks])
    task_B = task_index_T[ids_B % len(tasks)]
    streams_N = torch.tensor([zlib.crc32(name.encode()) for name in TASKS])
    keys_B = world_keys(ids_B, streams_N[task_B])

    spots_BN2 = _spots(keys_B, num_blocks)
    colour_C = torch.tensor([list(COLOURS).index(colour) for colour in colours])
    block_colour_BK = colour_C[_shuffle(keys_B, len(colours), _COLOUR_COUNTER)][:, :num_blocks]
    any_colour_BK = colour_C[_shuffle(keys_B, len(colours), 2 * _COLOUR_COUNTER)][:, :num_blocks]
    absent_BK = torch.full_like(block_colour_BK, ABSENT)
    mark_BK = absent_BK.clone()
    mark_BK[:, 0] = GOAL_MARK
    by_kind = {"none": absent_BK, "mark": mark_BK, "any": any_colour_BK, "own": block_colour_BK}
    zone_colour_NBK = torch.stack([by_kind[task.zones] for task in TASKS.values()])
    return World(
        gripper_B2=spots_BN2[:, -1],
        closed_B=torch.zeros_like(task_B, dtype=torch.bool),
        held_B=torch.full_like(task_B, -1),
        blocks_BK2=spots_BN2[:, :num_blocks],
        block_colour_BK=block_colour_BK,
        zones_BK2=spots_BN2[:, num_blocks:-1],
        zone_colour_BK=zone_colour_NBK[task_B, torch.arange(len(ids_B))],
        task_B=task_B,
    )


def instructions(world: World) -> list[str]:
    """The instruction of each world."""
    names = [*COLOURS, "goal"]
    tasks = list(TASKS.values())
    rows = zip(world.task_B.tolist(), world.block_colour_BK[:, 0].tolist(), world.zone_colour_BK[:, 0].tolist())
    return [tasks[task].instruction(names[block], names[zone]) for task, block, zone in rows]


def _spots(keys_B: Tensor, num_blocks: int) -> Tensor:
    """float32 [B, 2K + 1, 2]: blocks, zones and the gripper, apart from each other."""
    # One spot far off the table spares the first object an empty comparison.
    spots_BN2 = torch.full((len(keys_B), 1, 2), _FAR_AWAY)
    for slot in range(2 * num_blocks + 1):
        low, high = BLOCK_RANGE if slot < num_blocks else OTHER_RANGE
        counters_N = torch.arange(slot * CANDIDATES * 2, (slot + 1) * CANDIDATES * 2)
        candidates_BD2 = low + uniform(keys_B, counters_N).view(-1, CANDIDATES, 2) * (high - low)
        delta_BDN2 = candidates_BD2[:, :, None] - spots_BN2[:, None]
        gap_BD = (delta_BDN2[..., 0] ** 2 + delta_BDN2[..., 1] ** 2).amin(dim=2).sqrt()
        # The first candidate that is far enough from all others; where none is, the farthest.
        order_D = torch.arange(CANDIDATES, 0, -1)
        rank_BD = torch.where(gap_BD >= SEPARATION, 100.0 * order_D, gap_BD)
        chosen_B12 = rank_BD.argmax(dim=1)[:, None, None].expand(-1, 1, 2)
        spots_BN2 = torch.cat([spots_BN2, candidates_BD2.gather(1, chosen_B12)], dim=1)
    return spots_BN2[:, 1:]


def _shuffle(keys_B: Tensor, count: int, first_counter: int) -> Tensor:
    """int64 [B, count]: a random order of 0 … count - 1 for each key."""
    return uniform(keys_B, torch.arange(first_counter, first_counter + count)).argsort(dim=1, stable=True)
