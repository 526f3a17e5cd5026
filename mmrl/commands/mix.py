"""`mmrl mix`: weights of a mixture, searched over short runs."""

from __future__ import annotations

import copy
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError, unknown

RUNS, OUTPUT = 8, "mixes"


def add_arguments(parser: ArgumentParser) -> None:
    """What is to be done, and with which recipe or runs."""
    parser.add_argument("action", choices=("design", "propose"), help="write the recipes of runs, or read such runs")
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="design: one recipe; propose: folders of finished runs"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="design: how many runs (default: 8)")
    parser.add_argument("--output", metavar="DIR", help="design: folder of the recipes (default: mixes)")
    parser.add_argument(
        "--figure",
        metavar="NAME",
        help="propose: held-out figure of the end (default: mean)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)")


def run(args: Namespace) -> int:
    """Writes recipes, or prints the mixture that the runs speak for."""
    unread = {"design": ("figure",), "propose": ("runs", "output")}[args.action]
    if given := [name for name in unread if getattr(args, name) is not None]:
        raise UserError(f"--{given[0]}: mix {args.action} does not read it")
    if args.action == "design":
        if len(args.paths) != 1:
            raise UserError(f"mix design takes one recipe, not {len(args.paths)}")
        for path in write_design(Path(args.paths[0]), args.runs or RUNS, Path(args.output or OUTPUT), args.seed):
            print(f"written: {path}")
        return 0
    print(read_runs([Path(path) for path in args.paths], args.figure or "mean", args.seed))
    return 0


def write_design(path: Path, runs: int, output: Path, seed: int) -> list[Path]:
    """The recipes of a design, `<output>/mix_00.yaml` and so on: the recipe's own, with other weights and names.

    Raises:
        UserError: the recipe does not read, its data have no weights to search, or a file is there already.
    """
    import yaml

    from mmrl.data.mixing import design
    from mmrl.recipe.reading import read_yaml
    from mmrl.recipe.schema import load_recipe

    raw = read_yaml(path)
    recipe = load_recipe(raw)
    if recipe.data.sampler.name != "weighted":
        raise UserError(
            f"data.sampler: '{recipe.data.sampler.name}' draws by no weights; mix searches those of weighted"
        )
    written = raw.get("data", {}).get("train", []) if isinstance(raw.get("data"), Mapping) else []
    points = design(len(written), runs, seed)
    output.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, weights in enumerate(points):
        mixed: dict[str, Any] = copy.deepcopy(raw)
        mixed["name"] = f"{recipe.name}_mix_{number:02d}"
        for dataset, weight in zip(mixed["data"]["train"], weights, strict=True):
            # A dataset of no weight at all would be none.
            dataset["weight"] = round(max(float(weight), 1e-3), 4)
        load_recipe(mixed)
        target = output / f"mix_{number:02d}.yaml"
        if target.exists():
            raise UserError(f"'{target}' is there already; give another --output")
        target.write_text(yaml.safe_dump(mixed, sort_keys=False, allow_unicode=True))
        paths.append(target)
    return paths


def read_runs(folders: Sequence[Path], figure: str, seed: int) -> str:
    """What the runs came to, and the weights that their surrogate speaks for, as text.

    Raises:
        UserError: a folder is no finished run, has no such figure, or has other datasets than the first.
    """
    import numpy as np

    from mmrl.contracts.heldout import is_loss
    from mmrl.data.mixing import propose
    from mmrl.tracking.run_files import read_run

    names: list[str] = []
    weights, figures, lines = [], [], []
    for folder in folders:
        config, final = _config(folder), read_run(folder).evaluations.get("final")
        if not final:
            raise UserError(f"'{folder}' is not finished, or has no held-out figure at its end")
        if figure not in final:
            raise UserError(f"--figure: {unknown('held-out figure', figure, final)}")
        train = config["data"]["train"]
        its_names = [str(dataset.get("name") or f"{dataset['type']} {i}") for i, dataset in enumerate(train)]
        names = names or its_names
        if its_names != names:
            raise UserError(f"'{folder}' trains on {its_names}, and '{folders[0]}' on {names}")
        weights.append([float(dataset["weight"]) for dataset in train])
        figures.append(float(final[figure]))
        shares = np.array(weights[-1]) / sum(weights[-1])
        lines.append(f"  {figures[-1]:8.4f}  {'  '.join(f'{share:.3f}' for share in shares)}  {folder}")
    better = -1.0 if is_loss(figure) else 1.0
    proposal = propose(np.array(weights), better * np.array(figures), seed)
    best = dict(zip(names, (round(float(weight), 3) for weight in proposal.weights), strict=True))
    verdict = (
        "the surrogate tells runs apart that it has not seen"
        if proposal.tells
        else "the surrogate predicts an unseen run no better than their mean does: take more runs, or more seeds"
    )
    return "\n".join(
        [
            f"  {figure:>8}  weights of {', '.join(names)}",
            *lines,
            f"error at a run left out {proposal.error:.4f}, spread of the runs {proposal.spread:.4f}: {verdict}",
            f"proposed weights, predicted {figure} {better * proposal.figure:.4f}: {best}",
        ]
    )


def _config(folder: Path) -> Mapping[str, Any]:
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"'{folder}' is no run: it has no config.yaml")
    return yaml.safe_load(path.read_text())
