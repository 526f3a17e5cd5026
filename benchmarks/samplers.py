"""Every sampler against `uniform` at equal rollouts, on numbers whose difficulty is known.

    python -m benchmarks.samplers [--seeds 3] [--steps 30] [--only pcl dots] [--output FILE]
    python -m benchmarks.samplers --table benchmarks/results/samplers.json

The data hold four levels in equal parts (`benchmarks.sampler_digits`): numbers of one, two and four digits, and an
empty picture. One SFT checkpoint answers the first mostly right, the second sometimes, the third seldom and the last
never; from there GRPO takes the same steps of as many rollouts with each sampler, which differ in nothing else.
Settings that a sampler needs are what the levels say: the rank for `ordered`, the level for `staged` and the bandits.

`value` is the number of samplers that failed: a run that raised, drew nothing of a level that can be learned, or ended
more than 0.05 below the start. `details` has the means over seeds: held-out accuracy (greedy, all levels but the empty
one), its gain over `uniform`, the share of groups whose answers differ in reward, and what was drawn. The limit: a
small model and few steps; a difference below two standard deviations over seeds says nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.result import deviation, give
from benchmarks.sampler_digits import LEVELS

ROWS, HELD_OUT, PROMPTS = 320, 60, 16
LEARNABLE = [level for level in LEVELS if level != "blank"]
FALL = 0.05


def samplers(steps: int) -> dict[str, dict[str, Any]]:
    """Settings of each sampler beside its name; the control comes first."""
    return {
        "uniform": {},
        "weighted": {},
        "sequential": {},
        "ordered": {"column": "rank", "descending": False},
        "staged": {"column": "level", "draws": steps * PROMPTS // len(LEVELS), "mixed": True},
        "difficulty": {},
        "filter": {"rest": 8 * PROMPTS},
        "pcl": {"candidates": 4 * PROMPTS},
        "dots": {"candidates": 8 * PROMPTS, "references": 8 * PROMPTS},
        "sec": {"column": "level"},
        "dump": {"column": "level"},
        "ratio": {"column": "level", "ratios": {"blank": 0.25}},
    }


def main(argv: list[str] | None = None) -> None:
    """Runs them all and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--shown", type=int, default=32, help="SFT steps before")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="rows of each level")
    parser.add_argument("--only", nargs="+", choices=samplers(1), help="samplers to run beside uniform")
    parser.add_argument("--output", type=Path, help="also write the result to this file, with date and machine")
    parser.add_argument("--table", type=Path, help="print docs/results.md's table of this result, and run nothing")
    args = parser.parse_args(argv)
    if args.table is not None:
        print("\n".join(table(json.loads(args.table.read_text()))))
        return
    settings = samplers(args.steps)
    names = [name for name in settings if args.only is None or name in {"uniform", *args.only}]
    with tempfile.TemporaryDirectory() as folder:
        start, before = supervised(Path(folder), args.shown, args.held_out)
        print(json.dumps({"start": before}), flush=True)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for seed in range(args.seeds):
            for name in names:
                sampler = {"name": name, **settings[name]}
                runs[name].append(reinforced(Path(folder), start, sampler, seed, args.steps, args.held_out))
                print(json.dumps({"sampler": name, "seed": seed, **runs[name][-1]}), flush=True)
    give(summary(runs, before, vars(args)), args.output)


def recipe(folder: Path, name: str, held_out: int, **more: Any) -> dict[str, Any]:
    """What SFT and the runs share."""
    rows = "benchmarks.sampler_digits:rows"
    sets = [
        {
            "type": "python",
            "name": level,
            "function": rows,
            "params": {"split": "test", "size": held_out, "levels": [level]},
        }
        for level in LEARNABLE
    ]
    return {
        "name": name,
        "output": str(folder),
        "threads": 1,
        "policy": {"path": "quickstart", "device": "cpu"},
        "rollout": {"n": 8, "max_new_tokens": 6},
        "evaluation": {"sampling": {"temperature": 0.0, "max_new_tokens": 6}},
        "checkpoint": {"best": None, "keep": 1},
        "tracking": {"console": "none", "tensorboard": False, "rollouts_every": 1, "rollouts_groups": PROMPTS},
        **more,
        "data": {"eval": sets, **more["data"]},
    }


def supervised(folder: Path, steps: int, held_out: int) -> tuple[Path, dict[str, float]]:
    """A checkpoint that has seen numbers of each length, and its held-out accuracy."""
    import mmrl

    shown = {"size": 2000, "levels": LEARNABLE, "seed": 1}
    data = {"train": [{"type": "python", "function": "benchmarks.sampler_digits:rows", "params": shown}]}
    optim = {"lr": 5.0e-4, "warmup": 5}
    more = {"method": "sft", "steps": steps, "demonstrations": 32, "optim": optim}
    outcome = mmrl.train(recipe(folder, "start", held_out, data=data, **more))
    return outcome.folder, accuracies(outcome.summary["final"])


def reinforced(
    folder: Path, start: Path, sampler: Mapping[str, Any], seed: int, steps: int, held_out: int
) -> dict[str, Any]:
    """GRPO with a sampler: its held-out accuracy, the share of groups with signal, and what was drawn.

    A run that raises has `failed` alone.
    """
    import mmrl

    train = {"type": "python", "function": "benchmarks.sampler_digits:rows", "params": {"size": ROWS}}
    data = {"train": [train], "sampler": dict(sampler)}
    more = {"method": "grpo", "steps": steps, "prompts": PROMPTS, "optim": {"lr": 3.0e-4, "warmup": 5}, "seed": seed}
    policy = {"path": str(start), "device": "cpu"}
    try:
        outcome = mmrl.train(
            recipe(folder, f"{sampler['name']}_{seed}", held_out, data=data, **{**more, "policy": policy})
        )
    except Exception as error:
        # Told in the result, which counts it: one sampler's failure must not hide how the others do.
        return {"failed": f"{type(error).__name__}: {error}"}
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    taken = [line for line in lines if "group/zero_advantage" in line]
    drawn = drawn_levels(outcome.folder)
    return {
        "accuracy": accuracies(outcome.summary["final"]),
        "signal": round(1 - fmean(line["group/zero_advantage"] for line in taken), 4),
        "drawn": {level: round(drawn[level] / sum(drawn.values()), 3) for level in LEVELS},
        "figures": {key: round(v, 3) for key, v in taken[-1].items() if key.startswith("sampler/")},
        "seconds": outcome.summary["seconds"],
    }


def accuracies(results: Mapping[str, float]) -> dict[str, float]:
    """Held-out accuracy by level, and their mean."""
    by_level = {key.split("/")[0]: round(value, 4) for key, value in results.items() if "/" in key or key == "mean"}
    return {level: by_level[level] for level in (*LEARNABLE, "mean")}


def drawn_levels(folder: Path) -> Counter[str]:
    """Prompts of each level among a run's recorded rollouts."""
    drawn: Counter[str] = Counter()
    for path in sorted((folder / "rollouts").glob("*.jsonl")):
        ids = {(line["group"], line["sample"]) for line in map(json.loads, path.read_text().splitlines())}
        drawn.update(identity.split("/")[0] for _, identity in ids)
    return drawn


def summary(
    runs: Mapping[str, list[dict[str, Any]]], start: Mapping[str, float], work: Mapping[str, Any]
) -> dict[str, Any]:
    """The result."""
    failures = {name: [why for run in each if (why := failure(run, start))] for name, each in runs.items()}
    table = {name: means([run for run in each if "failed" not in run]) for name, each in runs.items()}
    control = table["uniform"].get("accuracy")
    for entry in table.values():
        if control is not None and "accuracy" in entry:
            entry["gain"] = round(entry["accuracy"] - control, 4)
    return {
        "name": "samplers",
        "value": sum(bool(reasons) for reasons in failures.values()),
        "unit": f"of {len(runs)} samplers that raise, starve a level or end below the start",
        "higher_is_better": False,
        "details": {
            "start": start,
            "samplers": table,
            "failures": {name: reasons for name, reasons in failures.items() if reasons},
            "work": {"prompts": PROMPTS, "n": 8, **{key: work[key] for key in ("seeds", "steps", "shown", "held_out")}},
        },
    }


def failure(run: Mapping[str, Any], start: Mapping[str, float]) -> str | None:
    """What went wrong in a run; None: nothing."""
    if "failed" in run:
        return run["failed"]
    starved = [level for level in LEARNABLE if not run["drawn"][level]]
    if starved:
        return f"drew nothing of {', '.join(starved)}"
    fallen = run["accuracy"]["mean"] < start["mean"] - FALL
    return f"ended at {run['accuracy']['mean']}" if fallen else None


def means(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds."""
    if not runs:
        return {}
    accuracy = [run["accuracy"]["mean"] for run in runs]
    return {
        "accuracy": round(fmean(accuracy), 4),
        "sd": deviation(accuracy),
        "levels": {level: round(fmean(run["accuracy"][level] for run in runs), 4) for level in LEARNABLE},
        "signal": round(fmean(run["signal"] for run in runs), 4),
        "drawn": {level: round(fmean(run["drawn"][level] for run in runs), 3) for level in LEVELS},
        "seconds": round(fmean(run["seconds"] for run in runs), 1),
    }


def table(result: Mapping[str, Any]) -> list[str]:
    """Lines of a markdown table of a result."""
    lines = [
        "| sampler | held-out accuracy | gain over `uniform` | groups with signal | drawn: one, two, four, blank |",
        "|---|---|---|---|---|",
    ]
    for name, entry in result["details"]["samplers"].items():
        drawn = ", ".join(f"{share:.2f}" for share in entry["drawn"].values())
        spread = "" if entry["sd"] is None else f" ± {entry['sd']:.3f}"
        accuracy = f"{entry['accuracy']:.3f}{spread}"
        lines.append(f"| `{name}` | {accuracy} | {entry['gain']:+.3f} | {entry['signal']:.2f} | {drawn} |")
    return lines


if __name__ == "__main__":
    main()
