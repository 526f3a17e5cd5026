"""The gripper's command as the controller, LIBERO and checkpoints with 0 and 1 have it; cameras without pictures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import robotics
from robotics import maniskill
from robotics.maniskill import ManiSkillEnv
from tests.support.fake_maniskill import FakeBase
from tests.support.simulators import expert_episode

# reading: commands from closed to open, and what a Panda's controller is to get for them.
COMMANDS = {
    "open_positive": ([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]),
    "close_positive": ([1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]),
    "open_fraction": ([0.0, 0.4, 0.6, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0, -1.0]),
}


class TwoHands(FakeBase):
    """Two robots of two dims each; the gripper of the first is its last dim, of the second its first."""

    def __init__(self, worlds, mode):
        super().__init__(worlds, mode)
        box = SimpleNamespace(low=-np.ones(2, np.float32), high=np.ones(2, np.float32))
        self.single_action_space = SimpleNamespace(spaces={"left": box, "right": box})
        mappings = {"left": {"arm": (0, 1), "gripper": (1, 2)}, "right": {"gripper": (0, 1), "body": (1, 2)}}
        robots = [
            SimpleNamespace(
                uid=uid,
                control_mode="pd",
                controller=SimpleNamespace(action_mapping=mapping, single_action_space=box),
            )
            for uid, mapping in mappings.items()
        ]
        self.agent = SimpleNamespace(agents=robots)

    def step(self, parts):
        return super().step(torch.cat(list(parts.values()), dim=1))

    def get_reward(self, obs, action, info):
        raise KeyError


def fake(monkeypatch, base, **given):
    pytest.importorskip("mani_skill")
    monkeypatch.setattr(maniskill, "build_base", lambda options, mode, worlds: base(worlds, mode))
    given = {"num_envs": 1, "max_steps": 20, "backend": "physx_cuda", **given}
    return ManiSkillEnv(**ManiSkillEnv.SETTINGS.read("maniskill", given))


@pytest.mark.parametrize("gripper", COMMANDS)
def test_each_robot_s_gripper_and_nothing_else_is_converted(monkeypatch, gripper):
    env = fake(monkeypatch, TwoHands, gripper=gripper)
    env.reset([3])
    commands, expected = map(torch.tensor, COMMANDS[gripper])
    others = torch.linspace(-0.2, 0.3, len(commands))
    env.chunk_step(torch.stack([others, commands, commands, -others], dim=1)[None])
    played = torch.stack([raw[1] for raw in env._base.raw])
    torch.testing.assert_close(played, torch.stack([others, expected, expected, -others], dim=1))
    assert all((raw[0] == 0).all() for raw in env._base.raw), "the spare world rests"


def test_a_robot_without_a_gripper_has_no_other_reading(monkeypatch):
    class NoHand(TwoHands):
        def __init__(self, worlds, mode):
            super().__init__(worlds, mode)
            self.agent.agents[1].controller = SimpleNamespace()

    assert fake(monkeypatch, NoHand).action_dim == 4
    with pytest.raises(ValueError, match=r"gripper='close_positive' is not allowed for robot 'right', which has no"):
        fake(monkeypatch, NoHand, gripper="close_positive")


def test_cameras_without_pictures_are_refused():
    with pytest.raises(ValueError, match="allowed") as caught:
        robotics.make({"type": "maniskill", "observation": "state", "cameras": ["base_camera"]})
    assert str(caught.value) == (
        "maniskill: cameras=['base_camera'] is not allowed with observation='state', which shows no pictures; set "
        "observation: rgb, or leave cameras out"
    )


def one_world(**given):
    given = {"num_envs": 1, "backend": "physx_cpu", "observation": "state", **given}
    return ManiSkillEnv(**ManiSkillEnv.SETTINGS.read("maniskill", given))


@pytest.mark.slow
@pytest.mark.usefixtures("maniskill")
@pytest.mark.parametrize("gripper", COMMANDS)
def test_the_fingers_of_a_panda_open_and_close(gripper):
    env = one_world(gripper=gripper, max_steps=60)
    env.reset([0])
    commands, expected = COMMANDS[gripper]
    for command in (commands[expected.index(1.0)], commands[expected.index(-1.0)]):
        action = torch.zeros(1, 20, 8)
        action[..., 7] = command
        fingers = env.chunk_step(action).observation.state[0, 7:9]
        # 0.04 m is a finger's limit.
        wanted = 0.04 if command == commands[expected.index(1.0)] else 0.0
        torch.testing.assert_close(fingers, torch.full((2,), wanted), rtol=0, atol=2e-3)
    env.close()


@pytest.mark.slow
@pytest.mark.usefixtures("maniskill")
@pytest.mark.parametrize("gripper", ["close_positive", "open_fraction"])
def test_the_scripted_hand_picks_up_in_every_reading(gripper):
    env = one_world(task="PickCube-v1", control_mode="pd_ee_delta_pos", max_steps=50, gripper=gripper)
    for start_id in range(3):
        env.reset([start_id])
        _, result = expert_episode(env)
        assert result.info["success_once"].item()
    env.close()


@pytest.mark.slow
@pytest.mark.usefixtures("maniskill")
def test_a_panda_with_a_stick_has_no_gripper_to_convert():
    env = one_world(task="PushCube-v1", robot="panda_stick")
    assert env.action_dim == 7
    env.close()
    with pytest.raises(ValueError, match="is not allowed for robot 'panda_stick', which has no gripper of one action"):
        one_world(task="PushCube-v1", robot="panda_stick", gripper="open_fraction")
