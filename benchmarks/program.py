"""A program of stages against plain SFT then RL, at equal optimizer steps and as many rollouts.

    python -m benchmarks.program [--seeds 3] [--small] [--output FILE]

The data are those of `benchmarks.samplers`: numbers of one, two and four digits to read, and empty pictures, whose
number nobody can know, as a quarter of the rows. The program: SFT; then twice: the policy answers questions, those that
it answers sometimes are selected, SFT on their demonstrations, and GRPO on questions that sampler `pcl` expects to be
answered right half of the time. The plain arm has the same steps of SFT with as many demonstrations, and then the same
steps of GRPO, with as many rollouts as the program takes, those of its profiles included. Both start from the packaged
Qwen2.5-VL and are measured greedily on the same held-out rows, without empty pictures; the program after each stage.

`value` is the program's lead in final mean held-out accuracy, the mean of the seeds. The limit: a small model, few
steps, and data made so that selection matters; leads below two standard deviations are noise.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.result import deviation, give
from benchmarks.samplers import LEARNABLE, accuracies

ROUNDS, ANSWERS, PROFILED = 2, 8, 4


@dataclass(frozen=True)
class Work:
    """How much each part takes.

    Attributes:
        first, hard, rl: optimizer steps of the first SFT, and of SFT and GRPO in each round.
        demonstrations: of a step of SFT.
        prompts: of a step of the program's GRPO.
        asked: questions that are profiled in each round.
        held_out: rows of each level.
    """

    first: int = 32
    hard: int = 3
    rl: int = 10
    demonstrations: int = 32
    prompts: int = 16
    asked: int = 120
    held_out: int = 80

    @property
    def rollouts(self) -> int:
        """Answers that the program samples."""
        return ROUNDS * (self.asked * PROFILED + self.rl * self.prompts * ANSWERS)

    @property
    def plain_prompts(self) -> int:
        """Prompts of a step of plain GRPO that makes as many. Raises ValueError where they are no whole number."""
        prompts, rest = divmod(self.rollouts, ROUNDS * self.rl * ANSWERS)
        if rest:
            raise ValueError(f"{self.rollouts} rollouts are no whole number of prompts per step")
        return prompts


# Few rows, of which a policy that has learned nothing yet answers some of one digit.
SMALL = Work(first=2, hard=1, rl=2, demonstrations=4, prompts=2, asked=32, held_out=4)


def python_rows(name: str, **params: Any) -> dict[str, Any]:
    """A data set of `benchmarks.sampler_digits`."""
    return {"type": "python", "name": name, "function": "benchmarks.sampler_digits:rows", "params": params}


TRAIN = python_rows("levels", size=2000, seed=1)


def program(work: Work) -> list[dict[str, Any]]:
    """The stages."""
    sft, rl = _methods(work)
    selected = {"name": "pass_rate", "low": 0.1, "high": 0.9}
    curriculum = {"train": [TRAIN], "sampler": {"name": "pcl", "candidates": 4 * work.prompts}}
    return [
        {"name": "sft", **sft, "steps": work.first},
        {
            "rounds": ROUNDS,
            "stages": [
                {
                    "name": "profile",
                    "generate": {"select": [selected], "write": "prompts"},
                    "rollout": {"n": PROFILED},
                    "data": {"train": [python_rows("asked", size=work.asked, seed=7)]},
                },
                {
                    "name": "hard",
                    **sft,
                    "steps": work.hard,
                    "data": {"train": [{"type": "generated", "stage": "profile"}]},
                },
                {"name": "rl", **rl, "steps": work.rl, "prompts": work.prompts, "data": curriculum},
            ],
        },
    ]


def plain(work: Work) -> list[dict[str, Any]]:
    """SFT, then GRPO, of the same steps in all."""
    sft, rl = _methods(work)
    return [
        {"name": "sft", **sft, "steps": work.first + ROUNDS * work.hard},
        {"name": "rl", **rl, "steps": ROUNDS * work.rl, "prompts": work.plain_prompts},
    ]


def _methods(work: Work) -> tuple[dict[str, Any], dict[str, Any]]:
    sft = {"method": "sft", "demonstrations": work.demonstrations, "optim": {"lr": 3.0e-4, "warmup": 3}}
    rl = {"method": "grpo", "objective": {"entropy": 0.03}, "optim": {"lr": 3.0e-4, "warmup": 3}}
    return sft, rl


def main(argv: list[str] | None = None) -> None:
    """Runs both arms and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="few steps: a test of the script")
    parser.add_argument("--output", type=Path, help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    work = SMALL if args.small else Work()
    arms = {"program": program(work), "plain": plain(work)}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1 if args.small else args.seeds):
            for name, stages in arms.items():
                runs[name].append(run(f"{name}_{seed}", stages, seed, work, Path(folder)))
                print(json.dumps({"arm": name, "seed": seed, **runs[name][-1]}), flush=True)
    give(summary(runs, work), args.output)


def run(name: str, stages: Sequence[Mapping[str, Any]], seed: int, work: Work, folder: Path) -> dict[str, Any]:
    """Mean held-out accuracy at the start and after each stage, and of each level at the end."""
    import mmrl

    outcome = mmrl.train(
        {
            "name": name,
            "output": str(folder),
            "threads": 1,
            "seed": seed,
            "policy": {"path": "quickstart", "device": "cpu"},
            "data": {
                "train": [TRAIN],
                "eval": [python_rows(level, split="test", size=work.held_out, levels=[level]) for level in LEARNABLE],
            },
            "stages": list(stages),
            "rollout": {"n": ANSWERS, "max_new_tokens": 6},
            "evaluation": {"sampling": {"temperature": 0.0, "max_new_tokens": 6}},
            "checkpoint": {"best": None, "keep": 1},
            "tracking": {"console": "none", "tensorboard": False, "rollouts_groups": 0},
        }
    )
    summary = outcome.summary
    stages_done = {key.removeprefix("after_"): value for key, value in summary.items() if key.startswith("after_")}
    table = {"start": summary["start"], **stages_done, "final": summary["final"]}
    return {
        "table": {key: round(figures["mean"], 4) for key, figures in table.items()},
        "final": accuracies(summary["final"]),
        "seconds": summary["seconds"],
    }


def summary(runs: Mapping[str, Sequence[Mapping[str, Any]]], work: Work) -> dict[str, Any]:
    """The result."""
    finals = {name: [run["table"]["final"] for run in each] for name, each in runs.items()}
    leads = [a - b for a, b in zip(finals["program"], finals["plain"], strict=True)]
    arms = {
        name: {
            "table": {key: round(fmean(run["table"][key] for run in each), 4) for key in each[0]["table"]},
            "final": {key: round(fmean(run["final"][key] for run in each), 4) for key in each[0]["final"]},
            "sd": deviation(finals[name]),
            "seconds": round(fmean(run["seconds"] for run in each), 1),
        }
        for name, each in runs.items()
    }
    return {
        "name": "program",
        "value": round(fmean(leads), 4),
        "unit": "mean held-out accuracy, the program's lead over SFT then RL",
        "higher_is_better": True,
        "details": {
            "arms": arms,
            "leads": [round(lead, 4) for lead in leads],
            "lead_sd": deviation(leads),
            "optimizer_steps": work.first + ROUNDS * (work.hard + work.rl),
            "rollouts": work.rollouts,
        },
    }


if __name__ == "__main__":
    main()
