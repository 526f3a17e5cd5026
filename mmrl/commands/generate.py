"""`mmrl generate`: a data set that a policy makes: answers to a recipe's training data, rewarded and selected."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmrl.contracts.errors import UserError


def add_arguments(parser: ArgumentParser) -> None:
    """What answers, and where the data set goes."""
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file: policy, data, rewards, rollout and generate")
    parser.add_argument("overrides", metavar="a.b=c", nargs="*", help="settings that replace the recipe's")
    parser.add_argument("--stage", metavar="NAME", help="the stage whose generate holds, where several have one")
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint or run that answers instead")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder of the data set (default: generated/<stage> in the recipe's run folder), where a killed "
        "command goes on",
    )


def run(args: Namespace) -> int:
    """Makes the data set and says what each rule left."""
    if args.checkpoint is not None and not Path(args.checkpoint).is_dir():
        raise UserError(
            f"--checkpoint: no folder at '{args.checkpoint}'; give a run, or a checkpoint such as step_000012"
        )
    from mmrl.rollouts.generate import described
    from mmrl.run import generate

    folder, index = generate(
        args.recipe,
        overrides=args.overrides,
        stage=args.stage,
        checkpoint=args.checkpoint,
        output=args.output,
        say=lambda line: print(line, flush=True),
    )
    for line in described(index):
        print(line)
    print(f"written: {folder / 'data'}")
    return 0
