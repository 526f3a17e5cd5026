"""The real simulators train each kind of policy and leave a report that shows episodes: needs what they need.

Between them the cases have every policy, ManiSkill's PickCube and PushCube, and a task of three LIBERO suites. All see
pictures, and π0 the robot's state too; the objects' poses (ManiSkill's `observation: state`) no policy takes.
"""

import json
import re
from pathlib import Path

import pytest

from mmrl.cli import main
from tests.support.paths import CONFIGS

pytestmark = pytest.mark.slow


STEPS, CHUNK = 8, 4
SHORT = {
    "stages.0.steps": 1,
    "stages.0.demonstrations": 2,
    "stages.1.steps": 1,
    "rollout.action_chunk": CHUNK,
    "data.eval.0.size": 2,
    "tracking.console": "none",
    "tracking.tensorboard": "false",
}


def trained(name, model, output, settings):
    """The folder of a run of a recipe in configs/, made by the command line."""
    given = {"policy.path": model, "output": output, **SHORT, **settings}
    assert main(["train", str(CONFIGS / f"{name}.yaml"), *(f"{key}={value}" for key, value in given.items())]) == 0
    return output / name


def check_report(run, cameras, side):
    """Figures of every stage, and two films of each evaluation: the page shows those of the first and the last."""
    import av

    summary = json.loads((run / "summary.json").read_text())
    assert summary["finished"]
    assert all(0 <= summary[stage]["mean"] <= 1 for stage in ("start", "after_sft", "final"))
    start, sft, rl = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert [start["step"], sft["stage"], rl["stage"]] == [0, "sft", "rl"]
    assert sft["loss/demo"] > 0
    assert rl["episode/length"] == STEPS
    assert rl["stream/rl_units"] > 0
    assert rl["episode/dropped"] == 0
    films = {path.relative_to(run).as_posix() for path in (run / "videos").rglob("*.mp4")}
    evaluations = {Path(film).parts[1] for film in films}
    assert sorted(evaluations) == ["step_000000", "step_000001", "step_000002"]
    assert len(films) == 2 * len(evaluations)
    for film in films:
        with av.open(str(run / film)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 1 + STEPS // CHUNK
        assert frames[0].shape[0] >= side
        assert frames[0].shape[1] >= cameras * side
        assert (frames[0] != frames[-1]).any()
    shown = re.findall(r'<video src="([^"]+)"', (run / "report.html").read_text())
    assert sorted(shown) == sorted(film for film in films if "step_000001" not in film)


# What a recipe of Qwen-VL changes for another policy.
OPENVLA = {"policy.type": "openvla", "policy.action_bins": "null"}
PI0 = {
    "policy.type": "pi0",
    "policy.action_bins": "null",
    "policy.params": "{sampler: sde, trained: one, steps: 2}",
}
# One world is a worker process less to start.
MANISKILL = {"simulators.push.backend": "physx_cpu", "simulators.push.max_steps": STEPS, "stages.1.prompts": 2}
LIBERO = {"simulators.spatial.max_steps": STEPS, "rollout.n": 2}

MANISKILL_RUNS = {
    "qwen-push": ("qwen2_5_vl", {}, {"simulators.push.num_envs": 1}),
    "openvla-pick": (
        "openvla",
        {"action_dim": 4},
        {**OPENVLA, "simulators.push.task": "PickCube-v1", "simulators.push.num_envs": 1},
    ),
    "pi0-push": (
        "pi0",
        {"action_dim": 4, "state_dim": 25},
        {**PI0, "stages.1.method": "pi_rl_sde", "simulators.push.num_envs": 1},
    ),
    "oft-push, its actions scaled by the expert's": (
        "openvla_oft",
        {"action_dim": 4, "state_dim": 25},
        {
            **OPENVLA,
            "policy.type": "openvla_oft",
            "policy.params": "{statistics: push}",
            "data.train.0.statistics": 2,
            "simulators.push.num_envs": 1,
        },
    ),
}
LIBERO_RUNS = {
    "qwen-spatial": ("qwen2_5_vl", {}, {}),
    "openvla-object": (
        "openvla",
        {"action_dim": 7},
        {
            **OPENVLA,
            "policy.params": "{cameras: [agentview]}",
            "simulators.spatial.suite": "libero_object",
            "simulators.spatial.num_envs": 1,
        },
    ),
    "pi0-goal": (
        "pi0",
        {"action_dim": 7, "state_dim": 8},
        {
            **PI0,
            "simulators.spatial.suite": "libero_goal",
            "simulators.spatial.tasks": "[8]",
            "simulators.spatial.num_envs": 1,
        },
    ),
}


@pytest.mark.parametrize("name", MANISKILL_RUNS)
def test_maniskill_trains(maniskill, tiny_qwen, tmp_path, name):
    family, size, settings = MANISKILL_RUNS[name]
    run = trained("robot_maniskill", tiny_qwen(family, **size), tmp_path, {**MANISKILL, **settings})
    check_report(run, cameras=1, side=56)
    known = json.loads((run / "environment.json").read_text())
    if "data.train.0.statistics" in settings:
        assert known["statistics_in_use"] == "push"
        assert known["action_statistics"]["push"]["from"] == "expert"
        assert known["action_statistics"]["push"]["num_trajectories"] == 2
    else:
        assert known.get("statistics_in_use") in (None, "tabletop")


@pytest.mark.parametrize("name", LIBERO_RUNS)
def test_libero_trains(libero, tiny_qwen, tmp_path, name):
    family, size, settings = LIBERO_RUNS[name]
    given = {**LIBERO, "simulators.spatial.assets": libero, **settings}
    run = trained("robot_libero", tiny_qwen(family, **size), tmp_path, given)
    check_report(run, cameras=2, side=56)
