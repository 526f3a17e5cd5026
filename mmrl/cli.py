"""The `mmrl` command: arguments in, exit code out. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import gc
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module

from mmrl import __version__
from mmrl.commands.cache import add_arguments as add_cache_arguments
from mmrl.commands.compare import add_arguments as add_compare_arguments
from mmrl.commands.eval import add_arguments as add_eval_arguments
from mmrl.commands.export import add_arguments as add_export_arguments
from mmrl.commands.gap import add_arguments as add_gap_arguments
from mmrl.commands.generate import add_arguments as add_generate_arguments
from mmrl.commands.mix import add_arguments as add_mix_arguments
from mmrl.commands.rewards import add_arguments as add_rewards_arguments
from mmrl.contracts.errors import UserError
from mmrl.recipe.secrets import masked

USAGE_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0; 2 for an error that the user can cure; 130 when interrupted; 128 + n when signal n stopped training, with a
        checkpoint written. Any other error keeps its traceback.
    """
    if argv is None:
        # Looking for garbage among all that torch and transformers make at import takes a tenth of a start.
        gc.set_threshold(50_000, 20, 20)
    args = parse(argv)
    try:
        code = import_module(f"mmrl.commands.{args.command}").run(args)
        sys.stdout.flush()
        return code
    except UserError as error:
        for line in [] if error.told else masked(str(error)).splitlines():
            print(f"mmrl: error: {line}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("mmrl: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        if not _stdout_closed():
            raise
        return BROKEN_PIPE


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's arguments; overrides may stand before or after options. Exits with 2 on bad usage."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = make_parser(tiny="tiny" in arguments)
    args, rest = parser.parse_known_args(argv)
    if hasattr(args, "overrides"):
        # argparse takes the positionals that follow an option for strangers.
        args.overrides += [item for item in rest if not item.startswith("-")]
        rest = [item for item in rest if item.startswith("-")]
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)}; `mmrl {args.command} --help` lists what there is")
    return args


def make_parser(tiny: bool = True) -> argparse.ArgumentParser:
    """The parser of every command.

    Args:
        tiny: with the options of `mmrl tiny`, which load the policies' settings to know the sizes that there are.
    """
    parser = argparse.ArgumentParser(
        prog="mmrl", description="Post-train vision-language models and vision-language-action policies."
    )
    parser.add_argument("--version", action="version", version=f"mmrl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")

    def recipe(parser: argparse.ArgumentParser, metavar: str, text: str, **options: str) -> None:
        parser.add_argument("recipe", metavar=metavar, help=text, **options)
        parser.add_argument("overrides", metavar="a.b=c", nargs="*", help="settings that replace the recipe's")

    train = command("train", "train a policy as a recipe says")
    recipe(train, "RECIPE", "YAML file")
    train.add_argument("--dry-run", action="store_true", help="check everything, estimate memory, train nothing")
    add_eval_arguments(command("eval", "measure held-out accuracy, or ask a checkpoint benchmarks"))
    add_generate_arguments(command("generate", "have a policy answer a data set, and keep what a selection leaves"))
    add_export_arguments(command("export", "write a run's model, or its LoRA adapters"))
    report = command("report", "write a run's HTML report")
    report.add_argument("folder", metavar="RUN", help="a run's folder")
    report.add_argument("--output", metavar="FILE", help="default: report.html in the run's folder")
    add_compare_arguments(command("compare", "compare two runs: settings, held-out accuracy, figures and curves"))
    add_mix_arguments(command("mix", "search the weights of a mixture: recipes of short runs, and what they speak for"))
    add_cache_arguments(command("cache", "fill, show or check a cache of decoded videos"))
    add_rewards_arguments(command("rewards", "list rewards, try one, or check a dataset's targets"))
    listing = command("list", "list what a recipe may name: rewards, methods, engines and so on")
    listing.add_argument("kind", metavar="KIND", nargs="?", help="default: the kinds themselves")
    checkpoint = command("tiny", "write a small random checkpoint, for tests and laptops")
    if tiny:
        import_module("mmrl.commands.tiny").add_arguments(checkpoint)
    config = command("config", "print a recipe with every default filled in")
    recipe(config, "RECIPE", "YAML file", nargs="?")
    config.add_argument("--schema", action="store_true", help="print the JSON schema of recipes instead")
    add_gap_arguments(command("gap", "compare the log-probs of a checkpoint's engines with the trainer's"))
    doctor = command("doctor", "show versions, devices and optional packages, and try a tiny model")
    doctor.add_argument("--model", metavar="DIR", help="instead: whether this checkpoint sees what it is shown")
    doctor.add_argument("--engine", metavar="NAME", default="hf", help="what samples it; default: hf")
    return parser


def _stdout_closed() -> bool:
    """Whether it is our own reader that went away; stdout is then pointed at nothing, so that exit stays quiet."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    closed = bool(watch.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed
