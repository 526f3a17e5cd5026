import subprocess
import sys

import pytest

import robotics
from robotics.maniskill import ManiSkillEnv
from robotics.options import unknown


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, ["'type'", "tabletop"]),
        ({"type": "tabeltop"}, ["type='tabeltop'", "allowed: libero, maniskill, tabletop", "did you mean 'tabletop'"]),
        ({"type": "tabletop", "num_env": 4}, ["'num_env'", "value 4", "num_envs", "did you mean 'num_envs'"]),
        ({"type": "tabletop", "tasks": ["pick_plaec"]}, ["tasks='pick_plaec'", "sort", "did you mean 'pick_place'"]),
        ({"type": "tabletop", "tasks": "reach"}, ["tasks='reach'", "a list of str"]),
        ({"type": "tabletop", "tasks": []}, ["tasks=[]", "at least 1"]),
        ({"type": "tabletop", "tasks": ["reach", "reach"]}, ["tasks=['reach', 'reach']", "at most once"]),
        ({"type": "tabletop", "reward": "spars"}, ["reward='spars'", "dense", "did you mean 'sparse'"]),
        ({"type": "tabletop", "num_envs": 0}, ["num_envs=0", "1 to inf"]),
        ({"type": "tabletop", "num_envs": 2.5}, ["num_envs=2.5", "int"]),
        ({"type": "tabletop", "num_envs": True}, ["num_envs=True", "int"]),
        ({"type": "tabletop", "image_size": 8}, ["image_size=8", "16 to 1024"]),
        ({"type": "tabletop", "num_blocks": 3, "colours": ["red", "blue"]}, ["num_blocks=3", "1 to 2"]),
        ({"type": "tabletop", "device": "toaster"}, ["device='toaster'", "cuda"]),
    ],
)
def test_mistakes_are_named(config, words):
    with pytest.raises(ValueError, match="allowed") as caught:
        robotics.make(config)
    for word in words:
        assert word in str(caught.value)


def test_simulators_are_listed():
    assert "tabletop" in robotics.list_simulators()


def test_defaults_and_none():
    env = robotics.make({"type": "tabletop", "max_steps": None, "tasks": ["reach", "push"]})
    assert (env.num_envs, env.action_dim, env.state_dim, env.cameras) == (16, 3, 4, ("top",))
    assert env.max_steps == 24
    assert robotics.make({"type": "tabletop", "max_steps": 7}).max_steps == 7


def test_how_many_worlds_a_caller_makes():
    assert robotics.world_limit({"type": "tabletop"}) is None
    assert robotics.world_limit({"type": "tabletop", "num_envs": 7}) == 7
    assert robotics.world_limit({"type": "libero"}) == 4
    assert robotics.world_limit({"type": "maniskill", "num_envs": 2}) == 2
    with pytest.raises(ValueError, match=r"num_envs=0 is not allowed"):
        robotics.world_limit({"type": "maniskill", "num_envs": 0})
    with pytest.raises(ValueError, match=r"did you mean 'maniskill'"):
        robotics.world_limit({"type": "maniskil"})


def test_a_missing_simulator_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mani_skill", None)
    options = ManiSkillEnv.SETTINGS.read("maniskill", {"backend": "physx_cpu"})
    with pytest.raises(ImportError, match=r"^maniskill: .*; install it: pip install 'mani-skill>=3.0.1,<3.1'$"):
        ManiSkillEnv(**options)


def test_only_the_nearest_of_many_names_are_shown():
    names = [f"Task{number}-v1" for number in range(100)]
    words = str(unknown("simulator", "task", "Task77", names))
    assert "'Task77-v1'" in words
    assert "(100 in all)" in words
    assert words.count("-v1") < 20


def test_import_is_light():
    code = "import sys, robotics; print(sorted({'torch', 'numpy', 'mmrl', 'PIL'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
def test_nothing_of_mmrl_is_imported():
    code = (
        "import sys, robotics.tabletop, robotics.contract; print([n for n in sys.modules if n.split('.')[0] == 'mmrl'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
