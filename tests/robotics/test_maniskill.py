"""ManiSkill in worker processes: needs mani_skill and a Vulkan driver (Mesa's software one will do)."""

import subprocess
import sys

import pytest
import torch

import robotics
from robotics import contract
from robotics.maniskill import ManiSkillEnv
from robotics.maniskill_build import VULKAN
from tests.support.simulators import OF_A_TASK, OF_ONE, Kept, check_renders, expert_episode
from tests.support.videos import write_video

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("maniskill")]

IDS = [7, 1 << 40]
SMALL = {
    "type": "maniskill",
    "num_envs": 2,
    "image_size": 32,
    "render_size": 32,
    "max_steps": 11,
    "backend": "physx_cpu",
}
POOLS = {
    "pick-state": {"task": "PickCube-v1", "observation": "state", "reward": "dense"},
    "pick-rgb": {"task": "PickCube-v1", "observation": "rgb", "reward": "relative"},
    "push-state": {
        "task": "PushCube-v1",
        "observation": "state",
        "control_mode": "pd_ee_delta_pos",
        "max_steps": 20,
        "reward": "sparse",
        "terminate_on_success": False,
    },
}


@pytest.mark.parametrize("name", POOLS)
def test_contract(name):
    """A worker that draws starts in fifteen seconds. That two objects start alike is seen without pictures, and that an
    id's picture is the package's own below."""
    pool = Kept(lambda: robotics.make({**SMALL, **POOLS[name]}))
    for check in OF_ONE if name == "pick-rgb" else OF_A_TASK:
        check(pool, IDS)
    pool.end()


def one_world(**given):
    """A world in this process."""
    given = {**{key: value for key, value in SMALL.items() if key != "type"}, "num_envs": 1, **given}
    return ManiSkillEnv(**ManiSkillEnv.SETTINGS.read("maniskill", given))


def package_env(task, **given):
    """The package's own environment, as its users make it."""
    import gymnasium
    import mani_skill.envs  # noqa: F401

    return gymnasium.make(task, num_envs=1, sim_backend="physx_cpu", render_backend="cpu", **given)


@pytest.mark.parametrize("task", ["PushCube-v1", "PullCube-v1", "PickCube-v1"])
def test_the_scripted_hand_succeeds(task):
    env = one_world(task=task, observation="state", control_mode="pd_ee_delta_pos", max_steps=50)
    assert env.has_expert
    lengths = []
    for start_id in range(20):
        env.reset([start_id])
        rewards, result = expert_episode(env)
        assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
        assert result.terminated.item()
        assert result.info["success_at_end"].item()
        lengths.append(result.info["episode_len"].item())
    assert len(set(lengths)) > 1
    env.close()


def test_what_the_hand_did_before_the_cameras_succeeds_when_it_is_replayed():
    given = {"task": "PickCube-v1", "observation": "rgb", "control_mode": "pd_ee_delta_pos", "max_steps": 50}
    # Without a rebuilt scene, states differ by rounding from the first touch on.
    env = robotics.make({**SMALL, **given, "rebuild": True})
    starts, actions, running = env.reset(IDS), [], True
    while running:
        actions.append(env.expert_action()[:, None])
        played = env.chunk_step(actions[-1])
        running = not played.info["done"].all()
    assert played.info["success_once"].all()
    contract.assert_same(starts, env.reset(IDS))
    replayed = env.chunk_step(torch.cat(actions, dim=1))
    assert replayed.info["success_once"].all()
    assert replayed.terminated.sum(dim=1).tolist() == [1, 1]
    assert torch.equal(replayed.valid.sum(dim=1), played.info["episode_len"])
    contract.assert_same(played.observation, replayed.observation)
    assert not torch.equal(starts.images["base_camera"], played.observation.images["base_camera"])
    env.close()


@pytest.mark.parametrize("task", ["PickCube-v1", "PegInsertionSide-v1"])
def test_an_id_is_the_package_s_seed_whatever_came_before(task):
    from mani_skill.utils.common import flatten_state_dict

    stock = package_env(task, obs_mode="state_dict", reward_mode="normalized_dense", max_episode_steps=12)
    env = one_world(task=task, observation="state", reward="normalized_dense", terminate_on_success=False)
    for start_id in (11, 2**31 - 1):
        # A cube in the hand at the end of the last episode must not show at the start of the next.
        env.reset([5])
        for _ in range(10):
            env.chunk_step(torch.zeros(1, 1, env.action_dim) if not env.has_expert else env.expert_action()[:, None])
        seen, _ = stock.reset(seed=start_id, options={"reconfigure": True})
        torch.testing.assert_close(
            env.reset([start_id]).state, flatten_state_dict(seen, use_torch=True), rtol=0, atol=0
        )
        actions = contract.random_actions(env, [start_id], 6)
        result = env.chunk_step(actions)
        for step in range(6):
            seen, reward, *_ = stock.step(actions[0, step].numpy())
            assert result.reward[0, step] == reward.item()
        torch.testing.assert_close(result.observation.state, flatten_state_dict(seen, use_torch=True), rtol=0, atol=0)
    env.close()
    stock.close()


def test_no_contact_of_the_last_episode_is_seen_at_a_start():
    env = one_world(observation="state", control_mode="pd_ee_delta_pos", max_steps=50, terminate_on_success=False)
    fresh = env.reset([4]).state
    env.reset([9])
    while not env._base.agent.is_grasping(env._base.cube).item():
        env.chunk_step(env.expert_action()[:, None])
    assert torch.equal(env.reset([4]).state, fresh)
    env.close()


@pytest.mark.parametrize(
    ("task", "instruction", "is_cube"),
    [
        ("PushCube-v1", "push the blue cube onto the target", lambda rgb: rgb[..., 2] > 2 * rgb[..., 0]),
        (
            "PickCube-v1",
            "pick up the red cube and hold it at the green goal",
            lambda rgb: rgb[..., 0] > 3 * rgb[..., 1],
        ),
    ],
    ids=["PushCube-v1", "PickCube-v1"],
)
def test_pictures_are_those_of_the_package(task, instruction, is_cube):
    stock = package_env(task, obs_mode="rgb", sensor_configs={"width": 48, "height": 48})
    env = one_world(task=task, image_size=48, max_steps=20)
    seen, _ = stock.reset(seed=6)
    start = env.reset([6])
    assert torch.equal(start.images["base_camera"], seen["sensor_data"]["base_camera"]["rgb"])
    told = [part.float().reshape(1, -1) for part in seen["extra"].values()]
    assert torch.equal(start.state, torch.cat([seen["agent"]["qpos"], seen["agent"]["qvel"], *told], dim=1))
    assert start.instruction == [instruction]
    actions = contract.random_actions(env, [6], 4)
    for step in range(4):
        seen, *_ = stock.step(actions[0, step].numpy())
    assert torch.equal(
        env.chunk_step(actions).observation.images["base_camera"], seen["sensor_data"]["base_camera"]["rgb"]
    )
    # Floor and sky behind are grey, the table in front is brown, the cube on it is coloured.
    picture = start.images["base_camera"][0].int()
    assert (picture[:8, :, 0] - picture[:8, :, 2]).float().mean() < 5
    assert (picture[-8:, :, 0] - picture[-8:, :, 2]).float().mean() > 40
    cube = is_cube(picture).nonzero()
    assert 2 <= len(cube) < 40
    assert cube[:, 0].float().mean() > 20
    env.close()
    stock.close()


DECODED_THEN_RENDERED = """
import sys, video, gymnasium, mani_skill.envs
video.read_frames(sys.argv[1], frames=2, backend="decord")
env = gymnasium.make("PickCube-v1", num_envs=1, obs_mode="rgb", sim_backend="physx_cpu", render_backend="cpu")
env.reset(seed=0)
env.close()
"""


def test_a_process_that_decoded_video_and_rendered_ends_well(tmp_path):
    write_video(tmp_path / "some.mp4")
    command = [sys.executable, "-c", DECODED_THEN_RENDERED, str(tmp_path / "some.mp4")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reward_modes_agree_with_each_other():
    modes = ("dense", "normalized_dense", "relative", "sparse", "only_success")
    rewards = {}
    for mode in modes:
        env = one_world(
            task="PushCube-v1",
            observation="state",
            control_mode="pd_ee_delta_pos",
            reward=mode,
            max_steps=30,
            terminate_on_success=False,
        )
        env.reset([2])
        steps = [env.chunk_step(env.expert_action()[:, None]) for _ in range(20)]
        rewards[mode] = torch.cat([step.reward for step in steps], dim=1)[0]
        solved = torch.stack([step.info["success_at_end"][0] for step in steps])
        env.close()
    # The cube stays on the target, where the reward is 4 per step before normalising.
    torch.testing.assert_close(rewards["normalized_dense"], rewards["dense"] / 4)
    torch.testing.assert_close(rewards["relative"].cumsum(0), rewards["normalized_dense"])
    assert torch.equal(rewards["sparse"], solved.float())
    first = solved.long().argmax()
    assert solved[first:].all()
    assert rewards["only_success"].nonzero().tolist() == [[first]]


def test_several_robots_and_modes_with_bounds():
    env = one_world(task="TwoRobotPickCube-v1", observation="state", max_steps=4)
    assert env.action_dim == 16
    env.reset([0])
    assert env.chunk_step(torch.zeros(1, 2, 16)).info["episode_len"].item() == 2
    env.close()
    env = one_world(observation="state", control_mode="pd_joint_pos", max_steps=60)
    env.reset([0])
    aim = torch.tensor([0.1, 0.15, 0.0, -0.3, 0.0, 0.3, 0.2, 1.0])
    qpos = env.chunk_step(aim.expand(1, 40, -1)).observation.state[0, :7]
    low = torch.tensor([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
    high = torch.tensor([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
    torch.testing.assert_close(qpos, low + (aim[:7] + 1) / 2 * (high - low), rtol=0, atol=0.02)
    env.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"task": "PickCub-v1"}, ["task='PickCub-v1'", "PushCube-v1", "in all)", "did you mean 'PickCube-v1'"]),
        ({"control_mode": "pd_ee_delta_pso"}, ["control_mode='pd_ee_delta_pso'", "did you mean 'pd_ee_delta_pos'"]),
        ({"robot": "pnda"}, ["robot='pnda'", "did you mean 'panda'"]),
        ({"observation": "rgb", "cameras": ["wrist"]}, ["cameras='wrist'", "allowed: base_camera"]),
        (
            {"task": "StackPyramid-v1", "reward": "dense"},
            ["reward='dense' is not allowed for StackPyramid-v1", "sparse"],
        ),
        ({"task": "MS-CartpoleBalance-v1"}, ["has no success", "reward='only_success'"]),
        (
            {"task": "PutCarrotOnPlateInScene-v1"},
            ["needs assets", "bridge_v2_real2sim", "python -m mani_skill.utils.download_asset bridge_v2_real2sim"],
        ),
    ],
)
def test_mistakes_are_named(given, words):
    with pytest.raises(ValueError, match="maniskill: ") as caught:
        one_world(observation=given.pop("observation", "state"), **given)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_action_dimension_is_told():
    env = one_world(observation="state")
    env.reset([0])
    with pytest.raises(
        ValueError, match=r"maniskill: actions have shape \(1, 2, 7\); expected \(1, C, 8\): .* 8 action dims"
    ):
        env.chunk_step(torch.zeros(1, 2, 7))
    env.close()


def test_without_a_vulkan_device_the_cure_is_told(monkeypatch):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, "/nowhere.json")
    with pytest.raises(ValueError, match="maniskill: no Vulkan device") as caught:
        robotics.make({**SMALL, "num_envs": 1})
    assert VULKAN in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_physx_cuda_is_refused():
    with pytest.raises(ValueError, match=r"backend='physx_cuda' needs a CUDA GPU.*allowed: physx_cpu"):
        robotics.make({**SMALL, "backend": "physx_cuda"})


def test_unseen_steps_render_nothing():
    check_renders(one_world(task="PushCube-v1", observation="rgb"), lambda base: "rgb" in base.obs_mode, [5])
