"""`mmrl train`."""

from __future__ import annotations

import shlex
import signal
import sys
from argparse import Namespace

from mmrl.parallel.launch import launch, launched, launched_rank, refuse_ranks
from mmrl.recipe.record import record
from mmrl.recipe.schema import Recipe, load_recipe


def reading_line(recipe: Recipe) -> str:
    """What a recipe asks for, of which nothing is loaded yet."""
    stages = ", ".join(f"{stage.name} ({stage.method}) {stage.steps}" for stage in recipe.stages)
    return f"{recipe.name}: opening {recipe.policy.type} '{recipe.policy.path}'; steps of stages: {stages}"


def run(args: Namespace) -> int:
    """Trains, or with `--dry-run` only checks."""
    recipe = load_recipe(args.recipe, args.overrides)
    processes = recipe.parallel.processes or 1
    if args.dry_run:
        refuse_ranks()
        from mmrl.commands.dry_run import dry_run

        print(dry_run(record(recipe)))
        return 0
    if processes > 1 and launched() == 1:
        return launch(processes, [sys.executable, "-m", "mmrl", "train", args.recipe, *args.overrides])
    speaks = launched_rank() == 0
    if recipe.tracking.console != "none" and speaks:
        # Importing torch and transformers takes seconds.
        print(reading_line(recipe), flush=True)
    from mmrl.run import train

    outcome = train(recipe)
    if not speaks:
        return 0 if outcome.signum is None else 128 + outcome.signum
    if outcome.signum is None:
        print(f"done: {outcome.folder}")
        return 0
    from mmrl.policies.digests import listed

    overrides = [item for item in args.overrides if not item.startswith("resume=")]
    again = shlex.join(["mmrl", "train", args.recipe, *overrides, "resume=auto"])
    print(f"stopped by {signal.Signals(outcome.signum).name} after step {outcome.summary['steps']}")
    print(f"checkpoint: {listed(outcome.folder / 'checkpoints')[-1]}")
    print(f"go on with: {again}")
    return 128 + outcome.signum
