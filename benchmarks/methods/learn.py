"""Every method on the embedded digits at an equal budget, from one base, over seeds.

A base of the seed (the quickstart's checkpoint after some steps of SFT) is what every arm starts from; every arm takes
the same number of optimizer steps at its documented default, with as many prompts, answers and demonstrations per step
as every other that has any. The control arms `sft`, `grpo` and `sft_then_rl` are tuned: each runs at several learning
rates, and the best counts; the other methods run at one, so a lead of theirs is no artefact of a weak base.

An arm stands still where neither accuracy nor the likelihood of held-out demonstrations moves, and diverges where it
stops on figures that are not finite, or loses half of the base's accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import mmrl
from benchmarks.result import deviation
from mmrl.contracts.errors import DeadPolicy
from mmrl.contracts.types import Sample
from mmrl.data.digits import Digits
from mmrl.data.rows import Rows
from mmrl.recipe.data import DigitsData
from mmrl.recipe.methods import METHODS, resolve_objective
from mmrl.run import newest_model

CONTROLS = ("sft", "grpo", "sft_then_rl")
RATE, RATES = 3e-4, (1e-4, 3e-4, 1e-3)
BASE_STEPS, TEACHER_STEPS = 30, 150
# What experts, recorded actions and flow policies' steps are for.
OF_ROBOTS = ("dagger", "pi_rl_sde", "pi_rl_noise", "chunked_awr")
# What a method is given beside its name: what its notes ask for, and lengths of schedules in proportion to the steps.
SETTINGS: dict[str, Callable[[int], dict[str, Any]]] = {
    "reinforce_ada": lambda steps: {"rollout": {"pool": {"size": 24, "round": 8, "right": 4, "wrong": 4}}},
    "prefix_rft": lambda steps: {"rollout": {"context": {"name": "prefix", "share": 0.125}}},
    "ppo": lambda steps: {"policy": {"value_head": {}}},
    "chord_mu": lambda steps: {"objective": {"streams": {"demo": {"weight": {"decay": steps // 3}}}}},
    "sasr": lambda steps: {"objective": {"controllers": {"switch": {"warmup": steps // 3}}}},
    "kdrl": lambda steps: {"objective": {"controllers": {"anneal": {"steps": steps}}}},
    "relift": lambda steps: {"objective": {"buffer": {"size": 16}}},
    "dapo": lambda steps: {"objective": {"reward_transforms": {"overlong": {"cache": 5}}}},
    "riskpo": lambda steps: {"prompts": 15},
    **{name: lambda steps: {"minibatches": 2} for name in ("gspo", "adpo", "cispo", "bapo", "sapo", "minpro", "gmpo")},
}


class Pairs(Rows):
    """Rows of digits with a rejected answer: that of the next row of the same task which is answered otherwise."""

    def __init__(self, config: DigitsData):
        self.rows, self.stride = Digits(config), len(config.tasks)
        self.name = self.rows.name

    def __len__(self) -> int:
        return len(self.rows)

    def _row(self, row: int) -> Sample:
        sample, other = self.rows[row], row
        while (wrong := self.rows[other].demonstration) == sample.demonstration:
            other = (other + self.stride) % len(self.rows)
        return replace(sample, rejected=wrong)


def methods() -> list[str]:
    """Those that learn from digits, the controls first."""
    return [*CONTROLS, *sorted(set(METHODS.entries) - set(CONTROLS) - set(OF_ROBOTS))]


def recipe(model: str, folder: Path, name: str, seed: int, steps: int, rate: float, limit: int = 250) -> dict[str, Any]:
    """What every run has in common."""
    return {
        "name": name,
        "output": str(folder),
        "seed": seed,
        "threads": 1,
        "policy": {"path": model, "device": "cpu"},
        "data": {
            "train": [{"type": "digits", "size": 8000, "seed": seed}],
            "eval": [{"type": "digits", "split": "test", "size": limit}],
        },
        "rewards": [{"name": "route", "params": {"params": {"iou": {"threshold": 0.5}}}}],
        "steps": steps,
        "prompts": 16,
        "demonstrations": 32,
        "rollout": {"n": 8, "max_new_tokens": 24},
        "optim": {"lr": rate, "warmup": min(5, steps), "schedule": "constant"},
        "evaluation": {"every": None, "loss": True, "sampling": {"temperature": 0.0, "max_new_tokens": 24}},
        "checkpoint": {"best": None},
        "tracking": {"console": "none", "tensorboard": False, "rollouts_groups": 0},
    }


def bases(folder: Path, seed: int) -> dict[str, str]:
    """The base of a seed, and a teacher with more steps of SFT; made once."""
    made = {}
    for name, steps in (("base", BASE_STEPS), ("teacher", TEACHER_STEPS)):
        run = folder / f"{name}_{seed}"
        if not _finished(run):
            raw = recipe("quickstart", folder, run.name, seed, steps, 5e-4, limit=40)
            mmrl.train({**raw, "method": "sft", "resume": "auto", "checkpoint": {"best": None}})
        made[name] = str(newest_model(run))
    return made


def arm(
    method: str, models: Mapping[str, str], folder: Path, name: str, seed: int, steps: int, rate: float
) -> dict[str, Any]:
    """The recipe of one arm.

    Args:
        models: the paths of `base` and `teacher`.
    """
    raw = {
        **recipe(models["base"], folder, name, seed, steps, rate),
        "method": method,
        "resume": "auto",
        "checkpoint": {"every": None},
    }
    for key, value in SETTINGS.get(method, lambda steps: {})(steps).items():
        raw[key] = {**raw[key], **value} if isinstance(raw.get(key), dict) else value
    if METHODS.get(method).objective is not None:
        named = {name for _, name in resolve_objective(method, {}).companions()}
        raw |= {"companions": {name: {"path": models["teacher"]} for name in named}} if named else {}
    return raw


def run(method: str, folder: Path, seed: int, steps: int, rate: float) -> dict[str, Any]:
    """The figures of one arm: accuracy and loss on held-out rows before and after, and what became of it."""
    name = f"{method}_{seed}_{rate:g}"
    place = folder / f"{name}.json"
    if place.is_file():
        return dict(json.loads(place.read_text(encoding="utf-8")))
    raw = arm(method, bases(folder, seed), folder, name, seed, steps, rate)
    pairs = METHODS.get(method).objective is not None and resolve_objective(method, {}).pairs
    try:
        data = Pairs(DigitsData(type="digits", size=8000, seed=seed)) if pairs else None
        summary = dict(mmrl.train(raw, train_data=data).summary)
        start, final = summary["start"], summary["final"]
        figures = {
            **{key: round(final[key], 4) for key in ("mean", "loss")},
            **{f"start_{key}": round(start[key], 4) for key in ("mean", "loss")},
            "seconds": summary["seconds"],
        }
    except DeadPolicy as error:
        figures = {"stopped": str(error)}
    folder.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(figures), encoding="utf-8")
    return figures


def verdict(figures: Mapping[str, Any]) -> str:
    """`learns`, `stands still` or `diverges`."""
    if "stopped" in figures or figures["mean"] < figures["start_mean"] / 2:
        return "diverges"
    moved = max(abs(figures["mean"] - figures["start_mean"]), abs(figures["loss"] - figures["start_loss"]))
    return "stands still" if moved < 2e-3 else "learns"


def arms(chosen: Sequence[str], folder: Path, seeds: int, steps: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each method with its figures over the seeds: a control's best learning rate, in the mean over seeds."""
    for method in chosen:
        tried = {}
        for rate in RATES if method in CONTROLS else (RATE,):
            tried[rate] = [run(method, folder, seed, steps, rate) for seed in range(seeds)]
        best = max(tried, key=lambda rate: fmean(figures.get("mean", 0.0) for figures in tried[rate]))
        yield method, {"rate": best, **_over_seeds(tried[best])}


def _over_seeds(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    verdicts = [verdict(figures) for figures in runs]
    worst = next((word for word in ("diverges", "stands still") if word in verdicts), "learns")
    table: dict[str, Any] = {"verdict": worst}
    for key in ("mean", "start_mean", "loss", "seconds"):
        values = [figures[key] for figures in runs if key in figures]
        if values:
            table[key] = round(fmean(values), 4)
            table[f"{key}_sd"] = deviation(values)
    return table


def result(table: Mapping[str, Mapping[str, Any]], seeds: int, steps: int) -> dict[str, Any]:
    """What is printed last: how many methods diverge or stand still."""
    return {
        "name": "methods_learn",
        "value": sum(figures["verdict"] != "learns" for figures in table.values()),
        "unit": f"of {len(table)} methods that diverge or stand still",
        "higher_is_better": False,
        "details": {"optimizer_steps": steps, "seeds": seeds, "methods": dict(table)},
    }


def _finished(folder: Path) -> bool:
    summary = folder / "summary.json"
    return summary.is_file() and bool(json.loads(summary.read_text(encoding="utf-8")).get("finished"))
