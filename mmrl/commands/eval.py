"""`mmrl eval`: held-out accuracy of a recipe or run; benchmarks of a checkpoint, and what can be done with them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError, nearest
from mmrl.contracts.heldout import is_loss
from mmrl.tracking.files import json_text, write_atomic

# `mmrl eval WORD …`; a recipe or run of that name is `./WORD`.
WORDS = ("list", "check", "merge", "rescore")


def add_arguments(parser: ArgumentParser) -> None:
    """What is measured, how, and where figures go."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE_OR_RUN",
        nargs="?",
        help="YAML file of a recipe or an evaluation, or a run's folder (its newest checkpoint is measured); or a "
        "word: `list` of benchmarks, `check TASK …` of their files, `merge DIR …` of shards, `rescore DIR` of saved "
        "answers",
    )
    parser.add_argument("overrides", metavar="a.b=c", nargs="*", help="settings that replace the recipe's")
    parser.add_argument("--checkpoint", metavar="DIR", help="measure this checkpoint instead")
    parser.add_argument(
        "--output",
        "--output_path",
        metavar="PATH",
        help="write the figures to this JSON file, and videos beside it; of benchmarks, a folder (default: "
        "evaluations/ and the model's name), which a killed run is gone on with from",
    )
    group, names = parser.add_argument_group("benchmarks"), list[str]()

    def option(*flags: str, **settings: Any) -> None:
        names.append(group.add_argument(*flags, **settings).dest)

    option("--model", metavar="MODEL", help="folder of a checkpoint or run, or a hub name")
    option("--tasks", metavar="A,B", help="benchmarks, of `mmrl eval list`")
    option("--arms", metavar="X,Y", help="ask each of them under these arms too, such as blank,text_only")
    option("--data-root", metavar="DIR", help="folder of the benchmarks' files")
    option(
        "--protocol", metavar="SUITE", help="in the words and by the rules of lmms-eval, vlmevalkit, easyvideor1, qwen"
    )
    option("--download", action="store_true", help="fetch rows from the hub that no file and no cache holds")
    option("--limit", type=int, metavar="N", help="the first N rows of each only")
    option(
        "--engine",
        metavar="NAME",
        help="what samples, or the URL of an OpenAI-compatible server, where "
        "--model is its name for the model; default: the policy's own",
    )
    option("--batch-size", "--batch_size", type=int, metavar="N", help="rows asked at once")
    option("--max-new-tokens", type=int, metavar="N", help="of an answer; default: each benchmark's own")
    option("--samples", type=int, metavar="K", help="answers to each question, at sampling.temperature=T")
    option("--seed", type=int, metavar="N", help="of sampling")
    option("--shard", metavar="I/N", help="every N-th row from the I-th on")
    option("--count-missing", action="store_true", help="rows without their media count as wrong")
    option("--log-samples", "--log_samples", action="store_true", help="also write lmms-eval's and VLMEvalKit's files")
    option("--judge-url", metavar="URL", help="of an OpenAI-compatible server whose model grades answers")
    option("--judge-model", metavar="NAME", help="its name for that model")
    option("--judge-key-env", metavar="VARIABLE", help="environment variable that holds its key")
    option("--scorer", metavar="SUITE", help="rescore: as lmms-eval or vlmevalkit does")
    parser.set_defaults(of_benchmarks=names)


def run(args: Namespace) -> int:
    """Measures a recipe or run, asks benchmarks, or does what a word says."""
    from mmrl.parallel.launch import refuse_ranks

    refuse_ranks()
    suite = import_module("mmrl.commands.eval_suite")
    if args.model is not None or args.tasks is not None or args.recipe in WORDS:
        return suite.run(args)
    if args.recipe is None:
        raise UserError("give a recipe, a run, --model and --tasks, or a word: " + ", ".join(WORDS))
    if (raw := suite.read_file(Path(args.recipe))) is not None:
        return suite.ask_file(raw, args)
    if foreign := [name for name in suite.given_options(args) if name in args.of_benchmarks]:
        raise UserError(
            f"--{foreign[0].replace('_', '-')} goes with --model and --tasks; a recipe's evaluation is set by its keys"
        )
    return measure_recipe(args)


def measure_recipe(args: Namespace) -> int:
    """Prints accuracy per task, and what it took where frames vary; writes both as JSON if asked, films beside it."""
    source = Path(args.recipe)
    if not source.exists():
        siblings = [path.name for path in source.parent.iterdir()] if source.parent.is_dir() else []
        raise UserError(f"no recipe file and no run folder at '{source}'.{nearest(source.name, siblings)}")
    if args.checkpoint is not None and not Path(args.checkpoint).is_dir():
        raise UserError(f"--checkpoint: no folder at '{args.checkpoint}'; give a checkpoint's folder, e.g. step_000012")
    output = Path(args.output) if args.output else None
    if output is not None and output.is_dir():
        raise UserError(f"--output: '{output}' is a folder; give a file, e.g. '{output / 'eval.json'}'")
    from mmrl.run import measure

    videos = output.with_name(f"{output.stem}_videos") if output is not None else None
    results, figures = measure(args.recipe, overrides=args.overrides, checkpoint=args.checkpoint, videos=videos)
    accuracy = {name: value for name, value in results.items() if not is_loss(name)}
    losses = {name: value for name, value in results.items() if is_loss(name)}
    if accuracy:
        print(table(accuracy))
    if losses:
        print(table(losses, "held-out", "nats"))
    if figures:
        print(table(figures, "figure", "value"))
    if output is not None:
        facts = {
            "recipe": args.recipe,
            "overrides": args.overrides,
            "checkpoint": args.checkpoint,
            "accuracy": accuracy,
        }
        facts |= {"loss": losses} if losses else {}
        facts |= {"figures": figures} if figures else {}
        print(f"written: {write_atomic(output, json_text(facts))}")
    return 0


def table(results: Mapping[str, float], kind: str = "task", value: str = "accuracy") -> str:
    """Names in order, `mean` last, under two headings."""
    names = [*sorted(set(results) - {"mean"}), *(["mean"] if "mean" in results else [])]
    width = max(map(len, [kind, *names]))
    return "\n".join([f"{kind:<{width}}  {value:>8}", *(f"{name:<{width}}  {results[name]:8.3f}" for name in names)])
