"""The recipes of the real simulators train and leave a report that shows episodes: needs what the simulators need."""

import json
import re
from pathlib import Path

import pytest

from mmrl.cli import main

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
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


def trained(name, model, output, **settings):
    """The folder of a run of a recipe in configs/, made by the command line."""
    given = {"policy.path": model, "output": output, **SHORT, **{k.replace("__", "."): v for k, v in settings.items()}}
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


def test_maniskill_trains(maniskill, tiny_qwen, tmp_path):
    run = trained(
        "robot_maniskill",
        tiny_qwen(),
        tmp_path,
        simulators__push__max_steps=STEPS,
        simulators__push__backend="physx_cpu",
        stages__1__prompts=2,
    )
    check_report(run, cameras=1, side=56)


def test_libero_trains(libero, tiny_qwen, tmp_path):
    run = trained(
        "robot_libero",
        tiny_qwen(),
        tmp_path,
        simulators__spatial__max_steps=STEPS,
        simulators__spatial__assets=libero,
        rollout__n=2,
    )
    check_report(run, cameras=2, side=56)
