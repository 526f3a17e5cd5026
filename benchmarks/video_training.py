"""What the video cache saves in training: time to the first batch, and time of a whole step, on `video_digits`.

Rows are rendered beforehand: 64 seconds of 448 x 448 video each, read as 128 frames of 56 x 56 by the packaged tiny
model. Three runs of the same GRPO recipe in processes of their own, each row once: `decoded` has no cache, `filling` an
empty one, `cached` the one that `filling` left. Nothing is read ahead, so the difference is all in the step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

SIDES = ("decoded", "filling", "cached")
WORK = {
    "full": {"slots": 64, "canvas": 448, "prompts": 4, "steps": 6},
    "small": {"slots": 4, "canvas": 56, "prompts": 2, "steps": 2},
}


def first_batch_times(folder: Path, work: dict[str, int], threads: int) -> dict[str, float]:
    """Seconds from an opened run to the first step's prepared prompts, by side."""
    return {side: spawn(folder, work, threads, side, "first_batch")["seconds"] for side in SIDES}


def step_times(folder: Path, work: dict[str, int], threads: int) -> dict[str, Any]:
    """Median seconds of a step, the first left out, by side, and how much shorter the cache makes it."""
    steps = {side: spawn(folder, work, threads, side, "steps")["steps"] for side in SIDES}
    seconds = {side: median(taken[1:]) for side, taken in steps.items()}
    return {**seconds, "decoded_over_cached": seconds["decoded"] / seconds["cached"]}


def recipe(folder: Path, work: dict[str, int], threads: int, side: str, part: str) -> dict[str, Any]:
    """The recipe of one side."""
    rows = work["prompts"] * work["steps"]
    data = {key: work[key] for key in ("slots", "canvas")} | {
        "type": "video_digits", "size": rows, "tasks": ["counting"], "folder": str(folder / "files"),
    }  # fmt: skip
    settings: dict[str, Any] = {"train": [data]}
    if side != "decoded":
        settings["cache"] = {"folder": str(folder / f"cache_{part}")}
    return {
        "name": f"{side}_{part}",
        "output": str(folder / "runs"),
        "threads": threads,
        "policy": {"path": "quickstart", "video": {"fps": 2.0, "min_pixels": 3136, "max_pixels": 3136}},
        "data": settings,
        "method": "grpo",
        "steps": work["steps"],
        "prompts": work["prompts"],
        "rollout": {"n": 4, "max_new_tokens": 8},
        "tracking": {"console": "none", "tensorboard": False},
    }


def spawn(folder: Path, work: dict[str, int], threads: int, side: str, part: str) -> dict[str, Any]:
    """Runs one part of one side in a fresh process and reads what it measured."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.video_training",
        part,
        side,
        str(folder),
        json.dumps(work),
        str(threads),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{part} of {side} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str]) -> None:
    """One part of one side: `first_batch` or `steps`."""
    from mmrl.data.mixture import open_dataset
    from mmrl.recipe.schema import load_recipe

    part, side, folder, work, threads = argv[0], argv[1], Path(argv[2]), json.loads(argv[3]), int(argv[4])
    loaded = load_recipe(recipe(folder, work, threads, side, part))
    # Rendering the files is no part of training.
    for sample in open_dataset(loaded.data.train[0]):
        assert sample.videos
    print(json.dumps(PARTS[part](loaded)))


def first_batch(loaded: Any) -> dict[str, Any]:
    """Seconds to the first prompts, model and data being open."""
    from mmrl.setup import open_run
    from mmrl.trainer.stopping import StopRequest

    session, _ = open_run(loaded, StopRequest(), began=time.time())
    start = time.perf_counter()
    session.mixture.next(loaded.stages[0].prompts)
    return {"seconds": time.perf_counter() - start}


def steps(loaded: Any) -> dict[str, Any]:
    """Seconds of every step."""
    from mmrl.run import train

    folder = train(loaded).folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {"steps": [line["time/step"] for line in lines if "time/step" in line]}


PARTS = {"first_batch": first_batch, "steps": steps}

if __name__ == "__main__":
    main(sys.argv[1:])
