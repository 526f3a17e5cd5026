"""Each method's gradient through mmrl's path against autograd of its published loss, written out by itself.

    python -m benchmarks.methods --check [--only NAME …] [--output FILE]
    python -m benchmarks.methods --learn [--only NAME …] [--seeds 3] [--steps 40] [--folder DIR] [--output FILE]

`--learn` trains with each (`benchmarks.methods.learn`); runs that are in the folder already are not done again. The
limit: a model of 1.8 million parameters and a minute per run; differences below two deviations over seeds are noise.

`--check`: one step of a small Qwen2.5-VL in float64: groups of unequal sizes, with pictures and without, one of them
with equal rewards, answers that a limit cut, demonstrations. mmrl takes it from the collected groups over advantages,
old and reference log-probs and normalisers to the gradient of every parameter. The published loss is written over
padded tensors from transformers' own forward pass, and autograd differentiates it. `value` is the largest relative
error over cases, each in one pass, with a row per micro-batch, and with the rows shuffled and the groups cut.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.double import Float64
from benchmarks.methods.cases import CASES, Case
from benchmarks.methods.scene import Scene
from benchmarks.result import give

# (tokens per micro-batch, order of the rows: 0 as they come).
SPLITS = ((100_000, 0), (1, 0), (160, 7))


def distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm of the first, all parameters together."""
    difference = sum(float((x - y).square().sum()) for x, y in zip(a, b, strict=True))
    return (difference / sum(float(x.square().sum()) for x in a)) ** 0.5


def compare(
    cases: Iterable[Case], splits: Sequence[tuple[int, int]] = SPLITS, pictures: bool = True
) -> Iterator[tuple[Case, list[Tensor], float]]:
    """Each case, the gradient of its published loss, and the relative error of mmrl's, the largest of its splits."""
    scenes: dict[bool, tuple[Scene, Any]] = {}
    for case in cases:
        with Float64():
            if case.critic not in scenes:
                scene = Scene(critic=case.critic, pictures=pictures)
                scenes[case.critic] = scene, scene.plain()
            scene, plain = scenes[case.critic]
            parameters = [p for _, p, _ in scene.policy.trainable()]
            with scene.at("now"):
                loss = case.loss(scene.split(plain))
                slopes = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            published = [torch.zeros_like(p) if s is None else s for s, p in zip(slopes, parameters)]
            ours = scene.gradients(scene.stage(case.method, case.objective), splits, case.step)
        yield case, published, max(distance(published, mine) for mine in ours)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line per case, and the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="compare gradients")
    what.add_argument("--learn", action="store_true", help="train with each method, at an equal budget")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the cases, or of the methods")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of each run")
    parser.add_argument("--folder", type=Path, default=Path("runs/methods"), help="of the runs")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    if args.learn:
        return _learn(args)
    torch.set_num_threads(1)
    chosen = [case for case in CASES if not args.only or case.name in args.only]
    errors: dict[str, float] = {}
    for case, _, error in compare(chosen):
        errors[case.name] = error
        print(f"{case.name:40} {error:.1e}", flush=True)
    result = {"name": "methods", "value": max(errors.values()), "unit": "relative error", "details": errors}
    give(result, args.output)


def _learn(args: argparse.Namespace) -> None:
    from benchmarks.methods.learn import arms, methods, result

    table = {}
    for method, figures in arms(args.only or methods(), args.folder, args.seeds, args.steps):
        table[method] = figures
        print(f"{method:24} {figures}", flush=True)
    give(result(table, args.seeds, args.steps), args.output)


if __name__ == "__main__":
    main()
