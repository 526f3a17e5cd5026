"""Answers per CPU second: `mmrl generate` against a bare loop over the engine, on the same requests.

    python -m benchmarks.generate_throughput [--small] [--output FILE]

The packaged Qwen2.5-VL answers digits, each question 8 times at temperature 1, one thread. The loop reads and prepares
the same rows, and asks the engine for the same answers, shard by shard with the same seeds; it keeps nothing.
`generate` rewards them, profiles them, selects, and writes answers, pictures and the data set as well. The sides take
turns, of which the fastest counts. `value` counts the CPU seconds of the thread that samples: pictures are written in
another meanwhile. `details` has those of the whole process too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.decoding import versions
from benchmarks.result import give

CLOCKS = {"thread": time.thread_time, "process": time.process_time}


def recipe(rows: int, n: int, tokens: int, folder: Path) -> dict[str, Any]:
    """What is answered, and the selection."""
    return {
        "name": "generate",
        "output": str(folder),
        "threads": 1,
        "policy": {"path": "quickstart", "device": "cpu"},
        "data": {"train": [{"type": "digits", "size": rows}]},
        "rollout": {"n": n, "max_new_tokens": tokens},
        "generate": {"shard": 64, "select": [{"name": "right"}], "write": "answers"},
    }


def main(argv: list[str] | None = None) -> None:
    """Measures both sides and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few rows: a test of the script")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side, of which the fastest counts")
    parser.add_argument("--output", type=Path, help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    rows, repeats = (8, 1) if args.small else (args.rows, args.repeats)
    work = {"rows": rows, "n": 8, "tokens": 24, "repeats": repeats}
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), rows, work["n"], work["tokens"], repeats)
    rates = {
        clock: {side: round(rows * work["n"] / least[i], 2) for side, least in seconds.items()}
        for i, clock in enumerate(CLOCKS)
    }
    ratios = {clock: round(sides["generate"] / sides["engine"], 3) for clock, sides in rates.items()}
    result = {
        "name": "generate_throughput",
        "value": ratios["thread"],
        "unit": "mmrl generate / a bare loop over the engine, answers per CPU second",
        "higher_is_better": True,
        "details": {"answers_per_cpu_second": rates, "ratios": ratios, "work": work, "versions": versions()},
    }
    give(result, args.output)


def measure(folder: Path, rows: int, n: int, tokens: int, repeats: int) -> dict[str, list[float]]:
    """The least CPU seconds of each side by each of `CLOCKS`; both sample the same tokens."""
    from mmrl.recipe.generating import as_generating
    from mmrl.recipe.schema import load_recipe
    from mmrl.rollouts.generate import generate
    from mmrl.setup import open_generation
    from mmrl.trainer.generating import asked, generation

    read = load_recipe(as_generating(recipe(rows, n, tokens, folder)))
    (stage,) = read.stages
    with ExitStack() as stack:
        parts = stack.enter_context(open_generation(read, read.policy, None))
        best: dict[str, list[float]] = {}
        for repeat in range(repeats):
            task = generation(parts, stage, folder / f"set_{repeat}")
            sides: dict[str, Callable[[], object]] = {
                "engine": partial(bare, parts, task, asked(parts)),
                "generate": partial(generate, task, asked(parts)),
            }
            given: dict[str, Any] = {}
            for name in list(sides)[:: 1 if repeat % 2 else -1]:
                before = [clock() for clock in CLOCKS.values()]
                given[name] = sides[name]()
                taken = [clock() - began for clock, began in zip(CLOCKS.values(), before)]
                best[name] = min(best.get(name, taken), taken)
            units = {"engine": given["engine"], "generate": written(task.folder)}
            if len(set(units.values())) != 1:
                raise AssertionError(f"the sides sampled different answers: {units}")
    return best


def bare(parts: Any, task: Any, datasets: list[Any]) -> int:
    """Units that the engine samples of the task's requests."""
    from mmrl.contracts.engine import Request

    (data,), shard, units = datasets, task.config.shard, 0
    for number, first in enumerate(range(0, len(data), shard)):
        prompts = parts.policy.prepare([data[row] for row in range(first, min(first + shard, len(data)))])
        requests = [Request(prompt, task.terms.n) for prompt in prompts]
        for completions in parts.engine.generate(requests, task.terms.sampling, task.seed_of(number)):
            units += sum(len(completion.tokens) for completion in completions)
    return units


def written(folder: Path) -> int:
    """Units of the answers that `generate` has written."""
    lines = [line for path in (folder / "answers").glob("*.jsonl") for line in path.read_text().splitlines()]
    return sum(answer["length"] for line in lines for answer in json.loads(line)["answers"])


if __name__ == "__main__":
    main()
