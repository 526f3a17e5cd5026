"""What the video cache saves in training: time to the first batch, and time of a whole step, on `video_digits`.

Rows are rendered beforehand: 64 seconds of 448 x 448 video each, read as 128 frames of 56 x 56 by the packaged tiny
model. Three runs of the same GRPO recipe in processes of their own, each row once: `decoded` has no cache, `filling` an
empty one, `cached` the one that `filling` left; the first batch and the steps have a cache each. Nothing is read ahead,
so the difference is all in the step.
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


def times(folder: Path, work: dict[str, int], threads: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds to the first batch, and of a step, by side.

    The former are from an opened run to the first step's prepared prompts, the latter the median of a run's steps, the
    first left out, with how much shorter the cache makes it.
    """
    sides = {side: spawn(folder, work, threads, side) for side in SIDES}
    seconds = {side: median(measured["steps"][1:]) for side, measured in sides.items()}
    first = {side: measured["first_batch"] for side, measured in sides.items()}
    return first, {**seconds, "decoded_over_cached": seconds["decoded"] / seconds["cached"]}


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


def spawn(folder: Path, work: dict[str, int], threads: int, side: str) -> dict[str, Any]:
    """Runs one side in a fresh process and reads what it measured."""
    command = [sys.executable, "-m", "benchmarks.video_training", side, str(folder), json.dumps(work), str(threads)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str]) -> None:
    """Both parts of one side."""
    from mmrl.data.mixture import open_dataset
    from mmrl.recipe.schema import load_recipe

    side, folder, work, threads = argv[0], Path(argv[1]), json.loads(argv[2]), int(argv[3])
    recipes = {part: load_recipe(recipe(folder, work, threads, side, part)) for part in PARTS}
    # Rendering the files is no part of training.
    for sample in open_dataset(recipes["steps"].data.train[0]):
        assert sample.videos
    print(json.dumps({part: measure(recipes[part]) for part, measure in PARTS.items()}))


def first_batch(loaded: Any) -> float:
    """Seconds to the first prompts, model and data being open."""
    from mmrl.setup import open_run
    from mmrl.trainer.stopping import StopRequest

    session, _ = open_run(loaded, StopRequest(), began=time.time())
    start = time.perf_counter()
    session.mixture.next(loaded.stages[0].prompts)
    return time.perf_counter() - start


def steps(loaded: Any) -> list[float]:
    """Seconds of every step."""
    from mmrl.run import train

    folder = train(loaded).folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["time/step"] for line in lines if "time/step" in line]


PARTS = {"first_batch": first_batch, "steps": steps}

if __name__ == "__main__":
    main(sys.argv[1:])
