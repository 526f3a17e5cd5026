import math

import pytest
import torch

import robotics
from robotics.contract import random_actions
from robotics.tabletop_tasks import TASKS
from robotics.tabletop_world import COLOURS

KNOWN_INSTRUCTIONS = ["put the blue block on the red zone", "put the red block on the green zone"]
KNOWN_GRIPPERS = [[0.8437870144844055, 0.7567577958106995], [0.2332393229007721, 0.28724655508995056]]


def make(num_envs=8, **options):
    return robotics.make({"type": "tabletop", "num_envs": num_envs, "cameras": [], **options})


class PlainWorld:
    """One world with Python floats and loops, written from docs/simulators.md and not from the vectorised code."""

    def __init__(self, env, row):
        world = env.world
        self.task = env.tasks[world.task_B[row].item() if len(env.tasks) > 1 else 0]
        self.gripper = world.gripper_B2[row].tolist()
        self.blocks = world.blocks_BK2[row].tolist()
        self.zones = world.zones_BK2[row].tolist()
        self.closed, self.held = False, None

    def step(self, action):
        dx, dy, grip = action
        start = self.gripper
        end = [min(max(start[0] + 0.15 * dx, 0), 1), min(max(start[1] + 0.15 * dy, 0), 1)]
        if self.closed and self.held is None and self.task != "reach":
            for part in (0.25, 0.5, 0.75, 1.0):
                fist = [start[axis] + (end[axis] - start[axis]) * part for axis in (0, 1)]
                for block in self.blocks:
                    gap = math.dist(block, fist)
                    if gap < 0.085:
                        for axis in (0, 1):
                            pushed = fist[axis] + (block[axis] - fist[axis]) / max(gap, 1e-6) * 0.085
                            block[axis] = min(max(pushed, 0.055), 0.945)
        self.gripper = end
        if self.held is not None:
            self.blocks[self.held] = list(end)
        if grip <= 0:
            self.held = None
        elif not self.closed and self.task in ("pick_place", "sort"):
            nearest = min(range(len(self.blocks)), key=lambda index: math.dist(self.blocks[index], end))
            if math.dist(self.blocks[nearest], end) < 0.05:
                self.held = nearest
                self.blocks[nearest] = list(end)
        self.closed = grip > 0

    def success(self):
        if self.task == "reach":
            return math.dist(self.gripper, self.blocks[0]) < 0.07
        placed = [
            math.dist(block, zone) < 0.07 and self.held != index
            for index, (block, zone) in enumerate(zip(self.blocks, self.zones))
        ]
        return all(placed) if self.task == "sort" else placed[0]


def mixed_actions(env, ids, steps):
    """Random moves around the blocks: half of the steps head for a block, so that grasps and pushes do happen."""
    actions_BTA = random_actions(env, ids, steps)
    # Just off the centre: from the very centre, rounding alone would decide which way a fist pushes.
    heading_B2 = (env.world.blocks_BK2[:, 0] + 0.01 - env.world.gripper_B2) / 0.15
    for step in range(min(steps, 5)):
        actions_BTA[:, step, :2] = (heading_B2 - step).clamp(0, 1) - (-heading_B2 - step).clamp(0, 1)
        actions_BTA[::2, step, 2] = -1.0
    return actions_BTA


@pytest.mark.parametrize("task", TASKS)
def test_vectorised_step_equals_plain_python(task):
    ids = list(range(100, 140))
    env = make(len(ids), tasks=[task], terminate_on_success=False, max_steps=40)
    env.reset(ids)
    plain = [PlainWorld(env, row) for row in range(len(ids))]
    actions_BTA = mixed_actions(env, ids, 30)
    touched, start_BK2 = 0, env.world.blocks_BK2
    once = [False] * len(ids)
    for step in range(actions_BTA.shape[1]):
        result = env.chunk_step(actions_BTA[:, step : step + 1])
        for row, world in enumerate(plain):
            world.step(actions_BTA[row, step].tolist())
            first = world.success() and not once[row]
            once[row] |= world.success()
            assert result.reward[row, 0].item() == float(first)
            assert result.info["success_at_end"][row].item() == world.success()
        expected_BK2 = torch.tensor([world.blocks for world in plain])
        torch.testing.assert_close(env.world.blocks_BK2, expected_BK2, rtol=0, atol=1e-4)
        state = [[*w.gripper, float(w.closed), float(w.held is not None)] for w in plain]
        torch.testing.assert_close(result.observation.state, torch.tensor(state), rtol=0, atol=1e-4)
        touched += sum(world.held is not None for world in plain)
    moved = (env.world.blocks_BK2 != start_BK2).any(dim=2).any(dim=1).sum().item()
    assert result.info["success_once"].tolist() == once
    if task == "reach":
        assert moved == 0
    else:
        assert moved > 10
    assert (touched > 10) == (task in ("pick_place", "sort"))


@pytest.mark.parametrize("num_blocks", [1, 3, 4])
@pytest.mark.parametrize("task", TASKS)
def test_expert_solves_every_task(task, num_blocks):
    env = make(256, tasks=[task], num_blocks=num_blocks)
    env.reset(range(5000, 5256))
    for _ in range(env.max_steps):
        result = env.chunk_step(env.expert_action()[:, None])
    assert result.info["success_once"].float().mean() >= 0.99
    assert torch.equal(result.info["return"], result.info["success_once"].float())
    assert result.info["episode_len"].float().mean() < 0.75 * env.max_steps


@pytest.mark.parametrize("task", ["pick_place", "push", "sort"])
def test_expert_recovers_from_a_policys_states(task):
    ids = range(256)
    env = make(len(ids), tasks=[task], max_steps=120)
    env.reset(ids)
    env.chunk_step(0.5 * random_actions(env, ids, 6))
    for _ in range(env.max_steps - 6):
        result = env.chunk_step(env.expert_action()[:, None])
    assert result.info["success_once"].float().mean() >= 0.95


@pytest.mark.parametrize("task", TASKS)
def test_dense_reward_telescopes(task):
    ids = range(64)
    env = make(len(ids), tasks=[task], reward="dense")
    env.reset(ids)
    start_B = env._potential(env.world)
    rewards = [env.chunk_step(random_actions(env, ids, 3)).reward]
    for _ in range(env.max_steps):
        result = env.chunk_step(env.expert_action()[:, None])
        rewards.append(result.reward)
    change_B = env._potential(env.world) - start_B
    torch.testing.assert_close(torch.cat(rewards, dim=1).sum(dim=1), change_B, rtol=0, atol=1e-5)
    torch.testing.assert_close(result.info["return"], change_B, rtol=0, atol=1e-5)
    assert ((start_B >= 0) & (start_B < 0.5)).all()
    assert (env._potential(env.world)[result.info["success_once"]] > 0.9).all()


def test_dense_reward_prefers_the_expert_to_idling():
    for task in TASKS:
        env = make(64, tasks=[task], reward="dense")
        env.reset(range(64))
        idle = env.chunk_step(torch.full((64, env.max_steps, 3), 0.0)).info["return"]
        env.reset(range(64))
        for _ in range(env.max_steps):
            result = env.chunk_step(env.expert_action()[:, None])
        assert (result.info["return"] > idle + 0.4).all()


def test_success_at_end_can_be_lost_again():
    env = make(16, tasks=["reach"], terminate_on_success=False, max_steps=12)
    env.reset(range(16))
    for _ in range(6):
        result = env.chunk_step(env.expert_action()[:, None])
    assert result.info["success_at_end"].all()
    assert not result.terminated.any()
    away_BA = torch.where(env.world.gripper_B2 > 0.5, -1.0, 1.0)
    away_BCA = torch.cat([away_BA, -torch.ones(16, 1)], dim=1)[:, None].expand(-1, 6, -1)
    result = env.chunk_step(away_BCA)
    assert result.info["success_once"].all()
    assert not result.info["success_at_end"].any()
    assert result.truncated[:, -1].all()
    assert torch.equal(result.info["return"], torch.ones(16))


def test_success_on_the_last_step_is_terminated_not_truncated():
    env = make(32, tasks=["reach"], max_steps=2)
    env.reset(range(32))
    for _ in range(2):
        result = env.chunk_step(env.expert_action()[:, None])
    at_last_B = result.valid[:, 0] & result.info["success_once"]
    assert at_last_B.any()
    assert result.terminated[at_last_B, 0].all()
    assert not result.truncated[at_last_B, 0].any()


def test_actions_beyond_the_limits_are_clamped():
    env = make(4, tasks=["reach"])
    env.reset(range(4))
    far = env.chunk_step(torch.full((4, 2, 3), -9.0)).observation
    env.reset(range(4))
    assert torch.equal(far.state, env.chunk_step(torch.full((4, 2, 3), -1.0)).observation.state)


def test_starts_vary_and_are_apart():
    env = make(6144, tasks=list(TASKS), num_blocks=4, colours=list(COLOURS))
    observation = env.reset(range(6144))
    world = env.world
    spots_BN2 = torch.cat([world.blocks_BK2, world.zones_BK2, world.gripper_B2[:, None]], dim=1)
    gap_BNN = torch.cdist(spots_BN2, spots_BN2) + torch.eye(9)
    # Where no candidate is far enough the farthest is taken, which is rare and still clear of an overlap.
    assert (gap_BNN.amin(dim=(1, 2)) >= 0.2 - 1e-5).float().mean() > 0.99
    assert gap_BNN.min() > 0.14
    assert not env._success(world).any()
    assert len(spots_BN2.flatten(1).unique(dim=0)) == 6144
    assert (spots_BN2 >= 0.1).all()
    assert (spots_BN2 <= 0.9).all()
    torch.testing.assert_close(spots_BN2.mean(dim=0), torch.full((9, 2), 0.5), rtol=0, atol=0.02)
    assert all((world.block_colour_BK[:, 0] == colour).float().mean() > 0.1 for colour in range(6))
    assert (world.block_colour_BK.sort(dim=1).values.diff(dim=1) > 0).all()
    assert [text.split()[0] for text in observation.instruction[:4]] == ["reach", "push", "put", "put"]


def test_starts_do_not_depend_on_the_number_of_worlds():
    few, many = make(3, tasks=["sort"]), make(700, tasks=["sort"])
    few.reset([650, 3, 77])
    many.reset(range(700))
    for name in ("gripper_B2", "blocks_BK2", "zones_BK2", "block_colour_BK", "zone_colour_BK"):
        assert torch.equal(getattr(few.world, name), getattr(many.world, name)[[650, 3, 77]])


def test_known_start():
    """Starts are part of the contract: another value here means that every recorded id now names another world."""
    env = make(2, tasks=["pick_place"])
    observation = env.reset([0, 12345])
    assert observation.instruction == KNOWN_INSTRUCTIONS
    torch.testing.assert_close(observation.state[:, :2], torch.tensor(KNOWN_GRIPPERS), rtol=0, atol=1e-6)
