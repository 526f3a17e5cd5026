"""LIBERO in worker processes: needs hf-libero, EGL, and the meshes of three suites that lie beside the repository."""

import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib import metadata

import numpy as np
import pytest
import torch

import robotics
from robotics.libero import name_start
from robotics.libero_setup import MUJOCO, mujoco_problem
from robotics.settings import LIBERO_SUITES
from tests.support.media import SHARED
from tests.support.paths import ROOT
from tests.support.simulators import OF_A_TASK, OF_ONE, Kept, expert_episode

ASSETS = SHARED / "libero_assets"
installed = pytest.mark.skipif(
    importlib.util.find_spec("libero") is None, reason="the package hf-libero is not installed"
)
runs = pytest.mark.usefixtures("libero")
slow = pytest.mark.slow

SMALL = {"type": "libero", "num_envs": 2, "image_size": 32, "max_steps": 7, "assets": str(ASSETS)}
# Suite -> tasks: two different ones make a worker rebuild its scene. The first goes through every check, the others
# through those that need one object.
SCENES = {"libero_goal": (7, 2), "libero_spatial": (2,), "libero_object": (1,)}


def test_ids_count_through_tasks_and_then_start_states():
    named = [name_start(start_id, (4, 0, 7)) for start_id in range(-3, 9)]
    assert named[3:6] == [(4, 0), (0, 0), (7, 0)]
    assert named[6:9] == [(4, 1), (0, 1), (7, 1)]
    assert named[:3] == [(4, -1), (0, -1), (7, -1)]
    assert len({name_start(start_id, range(10)) for start_id in range(500)}) == 500


@slow
@runs
@pytest.mark.parametrize("suite", ["libero_goal", "libero_spatial"])
def test_contract(suite):
    """A worker starts in many seconds. That an id's start is the package's own, in any object, is seen below."""
    pool = Kept(lambda: robotics.make({**SMALL, "suite": suite, "tasks": SCENES[suite]}))
    for check in OF_ONE if suite == "libero_goal" else [check for check in OF_A_TASK if check in OF_ONE]:
        check(pool, [12, (1 << 40) + 1])
    pool.end()


@slow
@runs
@pytest.mark.parametrize(("suite", "task"), [("libero_spatial", 0), ("libero_object", 0), ("libero_goal", 8)])
def test_the_scripted_hand_succeeds(suite, task):
    options = {**SMALL, "suite": suite, "tasks": [task], "num_envs": 1, "image_size": 16, "max_steps": 150}
    env = robotics.make({**options, "cameras": ["agentview"]})
    env.reset([3])
    rewards, result = expert_episode(env)
    env.close()
    assert result.info["success_once"].item()
    assert result.info["success_at_end"].item()
    assert result.terminated.item()
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert result.info["episode_len"].item() == len(rewards) < 150
    assert result.info["task"].item() == task


BOWL_ON_RAMEKIN = """
import sys
import numpy as np
from robotics.libero import LiberoEnv

given = {"suite": "libero_spatial", "tasks": [5], "num_envs": 1, "image_size": 16, "cameras": ["agentview"]}
env = LiberoEnv(**LiberoEnv.SETTINGS.read("libero", {**given, "assets": sys.argv[1]}))
apart = []
for start in range(3):
    env.reset([start])
    bowl, ramekin = (env._sensed[f"{name}_1_pos"] for name in ("akita_black_bowl", "glazed_rim_porcelain_ramekin"))
    apart.append(float(np.linalg.norm(bowl[:2] - ramekin[:2])))
print(apart)
"""


@slow
@runs
def test_the_bowl_of_task_5_settles_on_the_ramekin():
    """Its instruction says so: seated it is 1.5 cm from the ramekin's axis, on the rim, as in newer ones, 3.7 cm."""
    problem = mujoco_problem(metadata.version("mujoco"))
    if problem is not None:
        pytest.skip(problem)
    command = [sys.executable, "-c", BOWL_ON_RAMEKIN, str(ASSETS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert max(json.loads(done.stdout.splitlines()[-1])) < 0.025


@pytest.mark.parametrize(
    ("version", "fits"), [("3.2.6", False), ("3.2.7", True), ("3.3.7", True), ("3.4.0", False), ("3.10.1", False)]
)
def test_versions_of_mujoco_that_settle_it_otherwise_are_told(version, fits):
    problem = mujoco_problem(version)
    assert (problem is None) == fits
    assert fits or f"MuJoCo {version}" in problem


def test_the_extra_installs_a_mujoco_that_fits():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["sim"]
    first, end = (".".join(map(str, limit)) for limit in MUJOCO)
    assert f"mujoco>={first},<{end}" in extra


AGAINST_THE_PACKAGE = """
import sys
import numpy as np, torch
from robotics.libero import LiberoEnv
from robotics.libero_setup import init_states, task_names

suite, task, assets, out = "libero_spatial", 0, *sys.argv[1:]
given = {"suite": suite, "tasks": [task], "num_envs": 1, "image_size": 96, "assets": assets}
ours = LiberoEnv(**LiberoEnv.SETTINGS.read("libero", given))
start = ours.reset([4])
actions = np.random.default_rng(0).uniform(-1, 1, (6, 7))
moved = ours.chunk_step(torch.tensor(actions)[None].float()).observation
raw = LiberoEnv(**LiberoEnv.SETTINGS.read("libero", {**given, "rotate_images": False, "settle_steps": 0}))
raw.reset([4])
recorded = init_states(suite, task_names(suite)[task])[4]
restored = raw._env.sim.get_state().flatten()

stock = ours._make(bddl_file_name=ours._env.env.bddl_file_name, camera_heights=96, camera_widths=96)
np.random.seed(4)
stock.env.reset()
stock.set_init_state(recorded)
for _ in range(10):
    first, *_ = stock.step([0.0] * 6 + [-1.0])
for action in actions:
    last, *_ = stock.step(action)
np.savez(
    out, recorded=recorded, restored=restored,
    **{f"start_{name}": image[0] for name, image in start.images.items()}, start_state=start.state[0],
    **{f"moved_{name}": image[0] for name, image in moved.images.items()}, moved_state=moved.state[0],
    **{f"first_{name}": value for name, value in first.items()},
    **{f"last_{name}": value for name, value in last.items()},
)
"""


def field_state(seen, when):
    """The 8 numbers of published policies: position, axis-angle of the (x, y, z, w) quaternion, finger joints."""
    x, y, z, w = seen[f"{when}_robot0_eef_quat"]
    angle = 2 * np.arccos(np.clip(w, -1, 1))
    axis = np.array([x, y, z]) / np.sqrt(1 - w * w)
    return np.concatenate([seen[f"{when}_robot0_eef_pos"], axis * angle, seen[f"{when}_robot0_gripper_qpos"]])


@slow
@runs
def test_pictures_and_state_are_those_of_the_package_turned_by_180_degrees(tmp_path):
    command = [sys.executable, "-c", AGAINST_THE_PACKAGE, str(ASSETS), str(tmp_path / "seen.npz")]
    subprocess.run(command, check=True, capture_output=True)
    seen = dict(np.load(tmp_path / "seen.npz"))
    np.testing.assert_array_equal(seen["restored"], seen["recorded"])
    # LIBERO samples its pictures up to four milliseconds before a step ends, in which the arm moves on.
    for ours, when, close in (("start", "first", 0.5), ("moved", "last", 4.0)):
        np.testing.assert_allclose(seen[f"{ours}_state"], field_state(seen, when), atol=1e-6)
        for camera in ("agentview", "robot0_eye_in_hand"):
            stock, picture = seen[f"{when}_{camera}_image"].astype(int), seen[f"{ours}_{camera}"].astype(int)
            turned = np.abs(picture - stock[::-1, ::-1]).mean()
            others = [np.abs(picture - other).mean() for other in (stock, stock[::-1], stock[:, ::-1])]
            assert turned < close
            assert min(others) > 3 * close
    # The wooden table is below, warmer than the grey behind it, and the arm reaches in from above.
    table, behind = seen["start_agentview"][-24:].astype(int), seen["start_agentview"][:16].astype(int)
    assert (table[..., 0] - table[..., 2]).mean() > (behind[..., 0] - behind[..., 2]).mean() + 10


def is_dark(picture):
    return picture.max(dim=-1).values < 70


def is_brown(picture):
    return picture[..., 0] - picture[..., 2] > 35


@slow
@runs
@pytest.mark.parametrize(
    ("suite", "task", "landmark", "side"),
    [
        pytest.param("libero_spatial", 0, is_dark, "right", id="spatial-cabinet"),
        pytest.param("libero_object", 0, is_brown, "left", id="object-basket"),
        pytest.param("libero_goal", 8, is_dark, "right", id="goal-cabinet"),
    ],
)
def test_where_things_stand_in_the_pictures(suite, task, landmark, side):
    env = robotics.make({**SMALL, "suite": suite, "tasks": [task], "num_envs": 1, "image_size": 64})
    start = env.reset([3]).images
    up = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0]).expand(1, 6, 7)
    moved = env.chunk_step(up).observation.images
    env.close()
    scene, wrist = start["agentview"][0].int(), start["robot0_eye_in_hand"][0].int()
    # Only the arm moves. It reaches in from above, to less than the middle.
    change_H = (moved["agentview"][0].int() - scene).abs().sum(dim=(1, 2))
    assert (change_H * torch.arange(64)).sum() / change_H.sum() < 28
    # At half height, what stands on one side of the table.
    middle = landmark(scene)[21:53].float()
    share = {"left": middle[:, :21].mean(), "right": middle[:, -21:].mean()}
    assert share.pop(side) > 3 * next(iter(share.values()))
    # The hand's camera sees the fingers, closed off by the dark hand below.
    assert is_dark(wrist[-8:]).float().mean() > 0.9
    assert is_dark(wrist[:8]).float().mean() < 0.5


@slow
@runs
def test_gripper_signs():
    options = {**SMALL, "tasks": [2], "num_envs": 1, "image_size": 16, "max_steps": 40}
    opening = {}
    for convention, values in (("close_positive", (1.0, -1.0)), ("open_fraction", (0.0, 1.0))):
        env = robotics.make({**options, "gripper": convention, "cameras": ["agentview"]})
        start = env.reset([0]).state
        opening[convention] = [start[0, 6] - start[0, 7]]
        for value in values:
            actions = torch.zeros(1, 12, 7)
            actions[..., 6] = value
            state = env.chunk_step(actions).observation.state
            opening[convention].append(state[0, 6] - state[0, 7])
        env.close()
        was_open, closed, open_again = opening[convention]
        assert was_open > 0.07
        assert closed < 0.02
        assert open_again > 0.07
    assert opening["close_positive"] == opening["open_fraction"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"suite": "libero_spatail"}, ["suite='libero_spatail'", "did you mean 'libero_spatial'"]),
        ({"tasks": [3, 10]}, ["tasks=[3, 10]", "allowed: 0 to 9", "'libero_spatial'"]),
        ({"assets": "/nowhere"}, ["assets='/nowhere'", "scenes", "hf download lerobot/libero-assets"]),
        ({"renderer": "vulkan"}, ["renderer='vulkan'", "egl, osmesa"]),
    ],
)
@installed
def test_mistakes_are_named(given, words):
    with pytest.raises(ValueError, match="allowed") as caught:
        robotics.make({**SMALL, **given})
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@installed
def test_missing_assets_are_never_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"no assets in .*; download them: hf download .*, or set assets: PATH$"):
        robotics.make({"type": "libero"})
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"libero is not installed; install it: pip install hf-libero==0.1.4$"):
        robotics.make({**SMALL})


@slow
@runs
@pytest.mark.parametrize(
    ("given", "environment", "words"),
    [
        (
            {"suite": "libero_10", "tasks": [0]},
            {},
            ["task 0 of libero_10", "No such file", "download all: hf download"],
        ),
        ({"cameras": ["agentveiw"]}, {}, ["cameras='agentveiw'", "frontview", "did you mean 'agentview'"]),
        ({"init_first": 50}, {}, ["init_first=50 with init_count=None", "start states 0 to 49"]),
        (
            {},
            {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere", "__EGL_VENDOR_LIBRARY_DIRS": "/nowhere"},
            ["renderer='egl' does not work here", "apt-get install libegl1", "renderer: osmesa"],
        ),
    ],
)
def test_what_only_a_worker_sees_is_told_in_one_line(given, environment, words, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="libero: ") as caught:
        robotics.make({**SMALL, "num_envs": 1, **given}).reset([0])
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_suites_are_those_of_the_package():
    pytest.importorskip("libero")
    script = (
        "import json, sys; from pathlib import Path; from robotics.libero_setup import package_root; "
        "suites = [path for path in (package_root() / 'bddl_files').iterdir() if path.is_dir()]; "
        "print(json.dumps({path.name: len(list(path.glob('*.bddl'))) for path in suites}))"
    )
    found = json.loads(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    )
    assert {name: tasks for name, (tasks, _) in LIBERO_SUITES.items()} == found
