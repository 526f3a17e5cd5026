"""Completion tokens per second of a whole GRPO step: mmrl against TRL's GRPOTrainer, on CPU.

    python -m benchmarks.step_throughput [--repeats 3] [--small] [--output FILE]

Equal on both sides: the checkpoint (a random Qwen2.5-VL), the prompts and their PNG images (448 x 448, 256 image tokens
each, none resized), completions per prompt, the length of every completion (no end token ends one), the reward
function, the loss (GRPO, no KL), one AdamW step per batch with the same settings and clipping, float32, sampling at
temperature 1, CPU threads, no logging of completions, no gradient checkpointing. Each side runs in a process of its
own, one after the other, the order reversed from one repeat to the next. A step is timed from the end of the one before
it to its own end, so data loading, preprocessing, rewards, bookkeeping and the optimizer all count. Warm-up steps are
left out.

Different by design: mmrl preprocesses each prompt once and hands the same tensors to sampling and training, TRL does it
for each completion, twice. mmrl runs the vision tower and the prompt once per group in sampling (the cache is then
copied) and once per group in training (all answers to a prompt share its row); TRL runs both once per completion. TRL's
optimizer is its default, the fused AdamW; mmrl's is the `foreach` one with deterministic algorithms on, as in any run.
So the ratio grows with completions per prompt and with image size, and shrinks as completions get longer.

TRL generates the whole batch at once and trains on `--trl-rows` completions per forward pass (one group by default,
which was faster and took less memory than the whole batch), accumulating gradients up to one optimizer step. mmrl keeps
its defaults. Values are medians over all measured steps of all repeats. `cpu_s` is the processor time of a step: on a
busy machine, with one thread per side, its ratio is the steadier figure, and `load_average` says how busy the machine
was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.result import give

SIDES = ("mmrl", "trl")
WORK = {
    "full": {"prompts": 2, "n": 8, "tokens": 64, "edge": 448, "warmup": 1, "steps": 3},
    "small": {"prompts": 1, "n": 2, "tokens": 4, "edge": 56, "warmup": 1, "steps": 2},
}


def main(argv: list[str] | None = None) -> None:
    """Runs the comparison and prints its result."""
    args = parse(argv)
    with tempfile.TemporaryDirectory() as work:
        args.work = work
        facts = spawn(args, "prepare", 0)
        runs: dict[str, list[dict]] = {side: [] for side in SIDES}
        for repeat in range(args.repeats):
            for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
                runs[side].append(spawn(args, side, repeat))
                seconds = median(step["step"] for step in runs[side][-1]["steps"])
                print(f"repeat {repeat + 1}, {side}: {seconds:.2f} s per step", flush=True)
    result = compare(args, facts, runs)
    give(result, args.output)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; sizes that were not given come from `WORK`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--repeats", type=int, help="processes per side; default 3, with --small 1")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--trl-rows", type=int, help="completions per training pass of TRL; default: one group")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    for name in WORK["full"]:
        parser.add_argument(f"--{name}", type=int)
    args = parser.parse_args(argv)
    for name, value in WORK["small" if args.small else "full"].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.repeats = args.repeats or (1 if args.small else 3)
    args.trl_rows = args.trl_rows or args.n
    if args.prompts * args.n % args.trl_rows:
        parser.error(f"--trl-rows {args.trl_rows} does not divide the batch of {args.prompts * args.n} completions")
    return args


def spawn(args: argparse.Namespace, side: str, repeat: int) -> dict[str, Any]:
    """Runs `prepare` or one side in a fresh process and reads what it measured."""
    folder = Path(args.work) / f"{side}_{repeat}"
    folder.mkdir()
    options = json.dumps({**vars(args), "folder": str(folder)})
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(args.threads)}
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "benchmarks.step_sides", side, options]
        code = subprocess.run(command, env={**os.environ, **offline}, stdout=log, stderr=subprocess.STDOUT).returncode
    if code:
        raise SystemExit(f"the {side} process failed:\n" + (folder / "log.txt").read_text()[-4000:])
    return json.loads((folder / "result.json").read_text())


def compare(args: argparse.Namespace, facts: dict[str, Any], runs: dict[str, list[dict]]) -> dict[str, Any]:
    """The result: each side's medians, their ratio, and what bounds mmrl's step."""
    tokens = args.prompts * args.n * args.tokens
    sides = {side: summarise(runs[side], tokens) for side in SIDES}
    if sides["mmrl"]["prompt_tokens"] != sides["trl"]["prompt_tokens"]:
        raise SystemExit(f"the sides saw prompts of {[s['prompt_tokens'] for s in sides.values()]} tokens")
    parameters = runs["mmrl"][0]["parameters"]
    details = {
        **sides,
        "ratio_by_cpu_seconds": round(sides["trl"]["cpu_s"] / sides["mmrl"]["cpu_s"], 2),
        "completion_tokens_a_step": tokens,
        "work": {name: getattr(args, name) for name in (*WORK["full"], "repeats", "trl_rows")},
        "parameters": parameters,
        "threads": args.threads,
        "versions": facts["versions"],
        "load_average": [round(x, 1) for x in os.getloadavg()],
        "gemm_gflops": round(facts["gemm_gflops"], 1),
        "limit": limit(args, sides["mmrl"], parameters, facts["gemm_gflops"]),
    }
    return {
        "name": "grpo_step_throughput_vs_trl",
        "value": round(sides["mmrl"]["tokens_per_s"] / sides["trl"]["tokens_per_s"], 2),
        "unit": "mmrl / TRL completion tokens per second",
        "higher_is_better": True,
        "details": details,
    }


def summarise(runs: list[dict], tokens: int) -> dict[str, Any]:
    """One side's medians over the measured steps of all its processes."""
    steps = [step for run in runs for step in run["steps"]]

    def middle(name: str) -> float:
        return round(median(step[name] for step in steps), 4)

    reported_apart = ("step", "rollout", "cpu", "patches")
    return {
        "tokens_per_s": round(tokens / median(step["step"] for step in steps), 1),
        "step_s": middle("step"),
        "rollout_s": middle("rollout"),
        "update_s": round(median(step["step"] - step["rollout"] for step in steps), 4),
        "cpu_s": middle("cpu"),
        "parts_s": {name: middle(name) for name in steps[0] if name not in reported_apart},
        "step_s_of_each_process": [round(median(step["step"] for step in run["steps"]), 3) for run in runs],
        "peak_rss_gb": round(max(run["peak_gb"] for run in runs), 2),
        "rss_before_training_gb": round(max(run["loaded_gb"] for run in runs), 2),
        "image_patches_a_step": int(middle("patches")),
        "prompt_tokens": runs[0]["prompt_tokens"],
    }


def limit(args: argparse.Namespace, side: dict[str, Any], parameters: dict[str, int], gflops: float) -> str:
    """What bounds mmrl's step: its parts, and its matrix products at the machine's own rate."""
    step, parts = side["step_s"], side["parts_s"]
    shares = {
        "decode": parts["decode"],
        "prefill with vision tower": parts["prefill"],
        "training forward with vision tower": parts["log_probs"],
        "backward and optimizer": side["update_s"] - parts["log_probs"],
    }
    shares["the rest (preprocessing, sampling, rewards)"] = step - sum(shares.values())
    told = ", ".join(f"{name} {100 * s / step:.0f}%" for name, s in sorted(shares.items(), key=lambda kv: -kv[1]))
    answers, patches = args.prompts * args.n, side["image_patches_a_step"] // 2
    positions = side["prompt_tokens"] * args.prompts + answers * (args.tokens - 1)
    layers = parameters["all"] - sum(parameters[name] for name in ("vision", "merger", "embedding"))
    products = layers * positions + parameters["embedding"] * answers * args.tokens
    # The merger joins four patches.
    products += parameters["vision"] * patches + parameters["merger"] * patches / 4
    # P weights cost 2P per position in sampling, 2P in the training forward and 4P backward.
    ideal = 8 * products / gflops / 1e9
    of_cpu = 100 * ideal * args.threads / side["cpu_s"]
    return (
        f"Shares of mmrl's step: {told}. An ideal step, only its matrix products with the weights (no attention), "
        f"each prompt and image once per pass, at this machine's {gflops:.0f} GFLOP/s of large float32 products, would "
        f"take {ideal:.2f} s: {100 * ideal / step:.0f}% of the measured one, and {of_cpu:.0f}% of its "
        "processor time."
    )


if __name__ == "__main__":
    main()
