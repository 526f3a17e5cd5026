import pytest
import torch

import robotics
from robotics.tabletop_render import GRIPPER, TABLE
from robotics.tabletop_tasks import TASKS
from robotics.tabletop_world import COLOURS

PALETTE = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)


def pixels(image_BHW3, where_B2):
    """The pixels under points given in table widths."""
    size = image_BHW3.shape[1]
    column_B, row_B = (where_B2 * size).long().clamp(0, size - 1).unbind(dim=1)
    return image_BHW3[torch.arange(len(image_BHW3)), row_B, column_B]


@pytest.mark.parametrize("size", [56, 64, 224])
def test_colours_are_where_the_things_are(size):
    env = robotics.make({"type": "tabletop", "num_envs": 64, "tasks": list(TASKS), "image_size": size})
    image = env.reset(range(64)).images["top"]
    world = env.world
    assert image.shape == (64, size, size, 3)
    for slot in range(3):
        assert torch.equal(pixels(image, world.blocks_BK2[:, slot]), PALETTE[world.block_colour_BK[:, slot]])
    push_B, sort_B = world.task_B == 1, world.task_B == 3
    assert (pixels(image, world.zones_BK2[:, 0])[push_B] == 255).all()
    # A zone's border is of its colour, its inside is paler; 0.065 from the centre is in the border.
    for slot in range(3):
        border_B3 = pixels(image, world.zones_BK2[:, slot] + torch.tensor([0.065, 0.0]))
        colour_B3 = PALETTE[world.zone_colour_BK[:, slot].clamp(0, 5)]
        assert torch.equal(border_B3[sort_B], colour_B3[sort_B])
        assert (pixels(image, world.zones_BK2[:, slot])[sort_B] != colour_B3[sort_B]).any(dim=1).all()
    # The open gripper is a dark ring around what lies under it, here the bare table.
    ring_B3 = pixels(image, world.gripper_B2 + torch.tensor([0.04, 0.0]))
    assert (ring_B3 == torch.tensor(GRIPPER, dtype=torch.uint8)).all()
    assert (pixels(image, world.gripper_B2) == torch.tensor(TABLE, dtype=torch.uint8)).all()


def test_closed_gripper_is_a_dark_disc():
    env = robotics.make({"type": "tabletop", "num_envs": 32, "tasks": ["reach"]})
    env.reset(range(32))
    image = env.chunk_step(torch.tensor([0.0, 0.0, 1.0]).expand(32, 1, 3)).observation.images["top"]
    assert (pixels(image, env.world.gripper_B2) == torch.tensor(GRIPPER, dtype=torch.uint8)).all()


def test_vectorised_patches_equal_a_loop_over_pixels():
    size = 40
    env = robotics.make({"type": "tabletop", "num_envs": 4, "tasks": ["reach"], "image_size": size})
    env.reset(range(4))
    # To the corners, where the gripper's patch reaches past the picture.
    corner_BA = torch.tensor([[-1.0, -1, -1], [1, -1, -1], [-1, 1, 1], [1, 1, 1]])
    image = env.chunk_step(corner_BA[:, None].expand(-1, 9, -1)).observation.images["top"]
    world = env.world
    for row in range(4):
        outer, inner = (0.03, -1.0) if world.closed_B[row] else (0.055, 0.025)
        gx, gy = world.gripper_B2[row].tolist()
        expected = torch.empty(size, size, 3, dtype=torch.uint8)
        for i in range(size):
            for j in range(size):
                x, y = (j + 0.5) / size, (i + 0.5) / size
                colour = TABLE
                for (bx, by), index in zip(world.blocks_BK2[row].tolist(), world.block_colour_BK[row].tolist()):
                    if max(abs(x - bx), abs(y - by)) < 0.055:
                        colour = list(COLOURS.values())[index]
                if inner < ((x - gx) ** 2 + (y - gy) ** 2) ** 0.5 < outer:
                    colour = GRIPPER
                expected[i, j] = torch.tensor(colour, dtype=torch.uint8)
        assert (image[row] == expected).all(dim=2).float().mean() > 0.998
    assert (world.gripper_B2[0] == 0).all()
    assert (world.gripper_B2[3] == 1).all()


def test_picture_follows_the_state_and_nothing_else():
    env = robotics.make({"type": "tabletop", "num_envs": 16, "tasks": ["push"], "max_steps": 30})
    before = env.reset(range(16)).images["top"]
    still = env.chunk_step(torch.zeros(16, 2, 3)).observation.images["top"]
    assert torch.equal(before, still)
    moved = env.chunk_step(torch.full((16, 1, 3), -0.5)).observation.images["top"]
    assert (before != moved).flatten(1).any(dim=1).all()
    assert torch.equal(moved, env.render())


def test_renders_once_per_chunk():
    env = robotics.make({"type": "tabletop", "num_envs": 2})
    env.reset([0, 1])
    renderer, calls = env._renderer, []
    env._renderer = lambda world: calls.append(1) or renderer(world)
    env.chunk_step(torch.zeros(2, 8, 3))
    assert len(calls) == 1
