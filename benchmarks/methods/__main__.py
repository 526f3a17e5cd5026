"""Each method's gradient through mmrl's path against autograd of its published loss, written out by itself.

    python -m benchmarks.methods --check [--only NAME …] [--processes N] [--output FILE]
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
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.double import Float64
from benchmarks.methods.cases import CASES, Case
from benchmarks.methods.scene import Scene
from benchmarks.result import give
from mmrl.contracts.world import ALONE, World
from mmrl.parallel.joining import joined
from mmrl.parallel.launch import launch, launched
from mmrl.recipe.parallel import ParallelConfig

# (tokens per micro-batch, order of the rows: 0 as they come).
SPLITS = ((100_000, 0), (1, 0), (160, 7))


def distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm of the first, all parameters together."""
    difference = sum(float((x - y).square().sum()) for x, y in zip(a, b, strict=True))
    return (difference / sum(float(x.square().sum()) for x in a)) ** 0.5


def compare(
    cases: Sequence[Case], splits: Sequence[tuple[int, int]] = SPLITS, pictures: bool = True
) -> Iterator[tuple[Case, list[Tensor], float]]:
    """Each case, the gradient of its published loss, and the relative error of mmrl's, the largest of its splits."""
    yield from compare_in(scenes_of(cases, pictures), cases, splits, ALONE)


def scenes_of(cases: Iterable[Case], pictures: bool = True) -> dict[bool, tuple[Scene, Any]]:
    """The scene of the cases with a critic, and of those without."""
    with Float64():
        scenes = {critic: Scene(critic=critic, pictures=pictures) for critic in {case.critic for case in cases}}
        return {critic: (scene, scene.plain()) for critic, scene in scenes.items()}


def compare_in(
    scenes: Mapping[bool, tuple[Scene, Any]], cases: Iterable[Case], splits: Sequence[tuple[int, int]], world: World
) -> Iterator[tuple[Case, list[Tensor], float]]:
    """See `compare`; the processes of a world share each step."""
    for case in cases:
        with Float64():
            scene, plain = scenes[case.critic]
            parameters = [p for _, p, _ in scene.policy.trainable()]
            with scene.at("now"):
                loss = case.loss(scene.split(plain))
                slopes = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            published = [torch.zeros_like(p) if s is None else s for s, p in zip(slopes, parameters)]
            ours = scene.gradients(scene.stage(case.method, case.objective), splits, case.step, world)
        yield case, published, max(distance(published, mine) for mine in ours)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line per case, and the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="compare gradients")
    what.add_argument("--learn", action="store_true", help="train with each method, at an equal budget")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the cases, or of the methods")
    parser.add_argument("--processes", type=int, default=1, help="of --check: how many share each step")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of each run")
    parser.add_argument("--folder", type=Path, default=Path("runs/methods"), help="of the runs")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    if args.learn:
        return _learn(args)
    if args.processes > 1 and launched() == 1:
        own = sys.argv[1:] if argv is None else argv
        raise SystemExit(launch(args.processes, [sys.executable, "-m", "benchmarks.methods", *own]))
    torch.set_num_threads(1)
    cases = [case for case in CASES if not args.only or case.name in args.only]
    # Before the processes meet: of several, transformers lets the first alone write a model.
    scenes = scenes_of(cases)
    with joined(ParallelConfig(processes=args.processes), "cpu") as world:
        _check(scenes, cases, world, args.output)


def _check(scenes: Mapping[bool, tuple[Scene, Any]], cases: Sequence[Case], world: World, output: str | None) -> None:
    errors: dict[str, float] = {}
    for case, _, error in compare_in(scenes, cases, SPLITS, world):
        # Each process has the whole step's gradient.
        errors[case.name] = max(world.exchange(case.name, error))
        if world.rank == 0:
            print(f"{case.name:40} {errors[case.name]:.1e}", flush=True)
    result = {"name": "methods", "value": max(errors.values()), "unit": "relative error", "details": errors}
    if world.rank == 0:
        give({**result, "processes": world.size} if world.size > 1 else result, output)


def _learn(args: argparse.Namespace) -> None:
    from benchmarks.methods.learn import arms, methods, result

    table = {}
    for method, figures in arms(args.only or methods(), args.folder, args.seeds, args.steps):
        table[method] = figures
        print(f"{method:24} {figures}", flush=True)
    give(result(table, args.seeds, args.steps), args.output)


if __name__ == "__main__":
    main()
