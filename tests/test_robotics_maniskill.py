"""ManiSkill in worker processes: needs mani_skill and a Vulkan driver (Mesa's software one will do)."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from shared_simulators import CHECKS, Kept

import robotics
from robotics import contract
from robotics.maniskill import ManiSkillEnv
from robotics.maniskill_build import VULKAN
from robotics.options import read_options

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("mani_skill") is None, reason="the package mani_skill is not installed"
    ),
]

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
    "push-state": {"task": "PushCube-v1", "observation": "state", "control_mode": "pd_ee_delta_pos", "max_steps": 20},
    "push-rgb": {"task": "PushCube-v1", "observation": "rgb", "reward": "sparse", "terminate_on_success": False},
}


@pytest.fixture(scope="module", params=POOLS)
def kept(request):
    pool = Kept(lambda: robotics.make({**SMALL, **POOLS[request.param]}))
    yield pool
    pool.end()


def test_contract(kept):
    for check in CHECKS:
        check(kept, IDS)
