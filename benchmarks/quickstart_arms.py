"""SFT, GRPO, SFT then GRPO, CHORD-mu and HPT from the quickstart's checkpoint, at equal optimizer steps, over seeds.

    python -m benchmarks.quickstart_arms [--steps 100] [--seeds 3] [--out runs/arms]

Every arm starts from the same weights, sees the same data mixture, takes the same number of optimizer steps at the same
learning rate, and is measured greedily on the same held-out rows. Arms differ in what a step costs: a step of SFT needs
no sampling. `value` is the lead of SFT -> GRPO over SFT alone in mean held-out accuracy; the table has every arm.
The limit: small model, short runs, five tasks; differences below about two standard deviations over seeds are noise.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

from benchmarks.result import deviation

ROOT = Path(__file__).resolve().parents[1]
RL = {"prompts": 32}
SFT = {"demonstrations": 64}
# HPT's gate with every prompt weighing alike, whatever becomes of it: its published weights want a clip of 80.
BY_PROMPT = {
    "streams": {
        "rl": {"coefficient": {"kind": "one"}, "normalise": "constant", "per_prompt": True},
        "demo": {"normalise": "sequence", "per_prompt": True, "terms": []},
    }
}


def arms(steps: int) -> dict[str, list[dict]]:
    """Stages of each arm; SFT's share of the staged arm is that of the quickstart, a third."""
    third = steps // 3
    return {
        "sft": [{"name": "sft", "method": "sft", "steps": steps, **SFT}],
        "grpo": [{"name": "rl", "method": "grpo", "steps": steps, **RL}],
        "sft_then_grpo": [
            {"name": "sft", "method": "sft", "steps": third, **SFT},
            {"name": "rl", "method": "grpo", "steps": steps - third, **RL},
        ],
        "chord_mu": [
            {
                "name": "mixed",
                "method": "chord_mu",
                "steps": steps,
                **RL,
                **SFT,
                "objective": {"streams": {"demo": {"weight": {"decay": third}}}},
            }
        ],
        "hpt": [{"name": "mixed", "method": "hpt", "steps": steps, **RL, "objective": BY_PROMPT}],
    }


def run_arm(name: str, stages: list[dict], seed: int, out: Path) -> dict[str, float]:
    """Final held-out accuracy of one run, and its wall-clock seconds."""
    import mmrl
    from mmrl.recipe.reading import read_yaml

    raw = read_yaml(ROOT / "configs" / "quickstart.yaml")
    raw |= {"name": f"{name}_{seed}", "output": str(out), "seed": seed, "stages": stages, "resume": "auto"}
    raw["optim"] = {"lr": 3.0e-4, "warmup": 10}
    raw["evaluation"] = {**raw["evaluation"], "every": None}
    raw["checkpoint"] = {"best": None}
    raw["tracking"] = {"console": "none", "tensorboard": False, "rollouts_groups": 0}
    return figures(mmrl.train(raw).summary)


def figures(summary: dict) -> dict[str, float]:
    """Final accuracy per task, the mean at the start, and wall-clock seconds."""
    return {**summary["final"], "start": summary["start"]["mean"], "seconds": summary["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of every arm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/arms"), help="finished runs found here are not rerun")
    parser.add_argument("--only", nargs="*", help="arms to run")
    args = parser.parse_args()
    table = {}
    for name, stages in arms(args.steps).items():
        if args.only and name not in args.only:
            continue
        results = []
        for seed in range(args.seeds):
            done = args.out / f"{name}_{seed}" / "summary.json"
            if done.is_file() and json.loads(done.read_text())["finished"]:
                results.append(figures(json.loads(done.read_text())))
            else:
                results.append(run_arm(name, stages, seed, args.out))
            print(f"{name} seed {seed}: {results[-1]}", flush=True)
        table[name] = {
            key: {"mean": round(fmean(r[key] for r in results), 4), "sd": deviation([r[key] for r in results]) or 0.0}
            for key in results[0]
        }
    lead = None
    if {"sft", "sft_then_grpo"} <= set(table):
        lead = round(table["sft_then_grpo"]["mean"]["mean"] - table["sft"]["mean"]["mean"], 4)
    line = {
        "name": "quickstart_arms",
        "value": lead,
        "unit": "held-out accuracy",
        "higher_is_better": True,
        "details": {"optimizer_steps": args.steps, "seeds": args.seeds, "arms": table},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
