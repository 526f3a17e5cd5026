"""Samples per second of `mmrl eval` on videos that are decoded, against a plain loop over the same engine.

    python -m benchmarks.evaluation [--small] [--output FILE]

The loop takes a row, decodes its video, prepares it, has it answered and scores it before it takes the next one. Both
ask the same questions of one small Qwen2.5-VL with engine `hf` in float32, greedily; their answers must be equal. The
model is loaded and the rows are opened before the clock starts. The shorter of `--repeats` measurements of each side
counts, taken in turns, for other work on the machine comes and goes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.result import give
from benchmarks.video_files import write_video

QUESTION = "rows: rows.jsonl\ntask: multiple_choice\nmax_new_tokens: 16\n"
OPTIONS = {"A": "a ball", "B": "a box", "C": "a cup", "D": "a key"}


def main() -> None:
    """Prints and writes one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few short videos: a test of the script")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the result to this file, with date and machine")
    args = parser.parse_args()
    count, seconds = (4, 1.0) if args.small else (48, 6.0)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), count, seconds, args.repeats)
    give(result, args.output)


def measure(folder: Path, count: int, seconds: float, repeats: int) -> dict[str, Any]:
    """The result, of `count` videos. Raises ValueError where the two sides answer differently."""
    import torch

    from mmrl.engines import open_engine
    from mmrl.evaluation.suite.runner import open_tasks
    from mmrl.policies.opening import load_policy
    from mmrl.policies.tiny import write_tiny
    from mmrl.recipe.engines import HFSettings
    from mmrl.recipe.policies.registry import policy_settings
    from mmrl.recipe.suite import SuiteConfig

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    write_tiny("qwen2_5_vl", folder / "model")
    _write_rows(folder, count, seconds)
    video = {"fps": 2.0, "max_pixels": 28 * 28 * 16}
    policy = load_policy(policy_settings(type="qwen_vl", path=str(folder / "model"), device="cpu", video=video))
    sides: dict[str, list[float]] = {"loop": [], "eval": []}
    answers: dict[str, list[str]] = {}
    with closing(open_engine(HFSettings(), policy)) as engine:
        for repeat in range(repeats):
            keys = {"tasks": [str(folder / "clips.yaml")], "output": str(folder / f"out_{repeat}")}
            config = SuiteConfig(model="small", **keys)
            (task,) = open_tasks(config)
            took, answers["loop"] = in_a_loop(task, policy, engine, config)
            sides["loop"].append(took)
            took, answers["eval"] = through_eval(task, policy, engine, config)
            sides["eval"].append(took)
            if answers["loop"] != answers["eval"]:
                raise ValueError("the loop and mmrl eval give other answers to the same questions")
    loop, own = min(sides["loop"]), min(sides["eval"])
    return {
        "name": "evaluation",
        "value": round(loop / own, 2),
        "unit": "samples per second of mmrl eval / of a plain loop over the same engine, videos decoded",
        "higher_is_better": True,
        "details": {
            "videos": count,
            "seconds_of_each": seconds,
            "loop_samples_per_s": round(count / loop, 2),
            "eval_samples_per_s": round(count / own, 2),
            "different_answers": len(set(answers["eval"])),
            "torch": torch.__version__,
            "load_average": [round(load, 1) for load in os.getloadavg()],
        },
    }


def in_a_loop(task: Any, policy: Any, engine: Any, config: Any) -> tuple[float, list[str]]:
    """(seconds, answers) of one row after the other."""
    from mmrl.contracts.engine import Request

    sampling, answers = config.sampling.limited(task.benchmark.limit), []
    began = time.perf_counter()
    for row in range(len(task.rows)):
        sample = task.rows[row]
        (prompt,) = policy.prepare([sample])
        local = policy.localise(sample, prompt)
        ((completion,),) = engine.generate([Request(prompt)], sampling, 0)
        answers.append(policy.decode_text(completion.tokens))
        task.benchmark.score(answers[-1], local)
    return time.perf_counter() - began, answers


def through_eval(task: Any, policy: Any, engine: Any, config: Any) -> tuple[float, list[str]]:
    """(seconds, answers) of what `mmrl eval` runs, with everything that it writes."""
    from mmrl.evaluation.suite.folder import stored_in
    from mmrl.evaluation.suite.runner import run_tasks

    began = time.perf_counter()
    run_tasks([task], config, policy, engine, "hf", {"name": "small"}, 1, say=lambda line: None)
    took = time.perf_counter() - began
    (stored,) = stored_in(Path(config.output)).values()
    return took, [record.answer for _, record in sorted(stored.records.items())]


def _write_rows(folder: Path, count: int, seconds: float) -> None:
    rows: list[dict[str, Any]] = []
    letters: Sequence[str] = list(OPTIONS)
    for number in range(count):
        name = f"{number}.mp4"
        write_video(folder / name, seconds, 640, 360, seed=number)
        question = f"What moves in video {number}?"
        rows.append({"question": question, "options": OPTIONS, "answer": letters[number % 4], "video": name})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "clips.yaml").write_text(QUESTION)


if __name__ == "__main__":
    main()
