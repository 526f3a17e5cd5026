"""More SFT, PPO, GRPO and co-training from one SFT checkpoint of a robot policy, over seeds.

    python -m benchmarks.robot_arms [openvla | pi0] [--seeds 3] [--out runs/robot_arms] [--output FILE]

`openvla` is configs/quickstart_robot.yaml, `pi0` is configs/robot_pi0.yaml with a tiny random checkpoint. For each seed
the recipe's SFT stage runs once; every arm starts from its weights and takes as many optimizer steps as the recipe's RL
stage. Arms of RL play as many episodes per step: PPO one from each of P starts, GRPO groups of 8 from P / 8 starts;
co-training is PPO plus 0.2 x the supervised loss on as many demonstrations as a step of SFT has. `sft` goes on with
SFT at the RL stage's learning rate and schedule. Success is measured greedily on the recipe's held-out starts.

`value` is the gain of PPO over its SFT checkpoint in held-out success, mean over seeds. The limit: small models on an
easy task, and demonstrations without end, which favours SFT; a seed draws data and sampling, not the start weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.result import deviation, give

ROOT = Path(__file__).resolve().parents[1]
RECIPES = {"openvla": "quickstart_robot", "pi0": "robot_pi0"}
GROUP = 8
# The ratio of a flow policy is of a whole decision, as in the recipe.
FLOW_STREAM = {"coefficient": {"kind": "ppo_clip", "level": "decision"}, "normalise": "decision"}
DEMO_STREAM = {"from": "demonstrations", "coefficient": {"kind": "one"}, "normalise": "token", "weight": 0.2}


def arms(policy: str, sft: Mapping[str, Any], rl: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each arm changes in the recipe: its stage and its rollouts."""
    drawn = {key: rl[key] for key in ("name", "steps", "minibatches", "optim")}
    updates = rl["steps"] * rl["minibatches"]
    objective = rl["objective"]
    mixed = {**objective, "demonstrations": True, "streams": {"demo": DEMO_STREAM}}
    group = {"streams": {"rl": FLOW_STREAM}} if policy == "pi0" else {}
    return {
        "sft": {**drawn, **_only(sft, "demonstrations"), "method": "sft", "steps": updates, "minibatches": 1},
        "ppo": dict(rl),
        "grpo": {
            **drawn,
            "method": "grpo",
            "objective": group,
            "prompts": rl["prompts"] // GROUP,
            "rollout": {"n": GROUP},
        },
        "co_train": {**rl, **_only(sft, "demonstrations"), "objective": mixed},
    }


def _only(stage: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: stage[key] for key in keys}


def train(raw: dict[str, Any], name: str, seed: int, out: Path) -> Path:
    """Folder of the finished run; one that is there already is not run again."""
    import mmrl

    folder = out / f"{name}_{seed}"
    done = folder / "summary.json"
    if not (done.is_file() and json.loads(done.read_text())["finished"]):
        quiet = {"console": "none", "tensorboard": False, "rollouts_groups": 0}
        mmrl.train(raw | {"name": folder.name, "output": str(out), "seed": seed, "resume": "auto", "tracking": quiet})
    return folder


def run_seed(policy: str, recipe: Mapping[str, Any], seed: int, out: Path) -> dict[str, float]:
    """Held-out success of the seed's SFT checkpoint and of each arm."""
    from mmrl.run import newest_model

    sft, rl = recipe["stages"]
    base = train({**recipe, "stages": [sft]}, "start", seed, out)
    success = {"start": _success(base, "start"), "after_sft": _success(base, "final")}
    for name, stage in arms(policy, sft, rl).items():
        rollout = {**recipe["rollout"], **stage.get("rollout", {})}
        stage = {key: value for key, value in stage.items() if key != "rollout"}
        at = {**recipe["policy"], "path": str(newest_model(base))}
        folder = train({**recipe, "policy": at, "stages": [stage], "rollout": rollout}, name, seed, out)
        success[name] = _success(folder, "final")
        print(f"{name} seed {seed}: {success['after_sft']:.3f} -> {success[name]:.3f}", flush=True)
    return success


def _success(folder: Path, when: str) -> float:
    return json.loads((folder / "summary.json").read_text())[when]["mean"]


def main() -> None:
    """Runs all arms and prints the result."""
    from mmrl.policies.tiny import write_tiny
    from mmrl.recipe.reading import read_yaml

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policy", nargs="?", choices=list(RECIPES), default="openvla")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/robot_arms"), help="finished runs here are not rerun")
    parser.add_argument("--output", type=Path, help="also write the result to this file, with date and machine")
    args = parser.parse_args()
    out = args.out.resolve() / args.policy
    recipe = read_yaml(ROOT / "configs" / f"{RECIPES[args.policy]}.yaml")
    if args.policy == "pi0":
        recipe["policy"]["path"] = str(out / "tiny_pi0")
        if not (out / "tiny_pi0").exists():
            write_tiny("pi0", out / "tiny_pi0")
    seeds = [run_seed(args.policy, recipe, seed, out) for seed in range(args.seeds)]
    table = {arm: _spread([seed[arm] for seed in seeds]) for arm in seeds[0]}
    line = {
        "name": f"robot_arms_{args.policy}",
        "value": round(fmean(seed["ppo"] - seed["after_sft"] for seed in seeds), 4),
        "unit": "held-out success gained by PPO over its SFT checkpoint",
        "higher_is_better": True,
        "details": {"recipe": RECIPES[args.policy], "seeds": args.seeds, "success": table},
    }
    give(line, args.output)


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": round(fmean(values), 4),
        "sd": deviation(values) or 0.0,
        "seeds": [round(v, 4) for v in values],
    }


if __name__ == "__main__":
    main()
