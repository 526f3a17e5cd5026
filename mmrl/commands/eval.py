"""`mmrl eval`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from mmrl.contracts.errors import UserError, nearest
from mmrl.contracts.heldout import is_loss
from mmrl.tracking.files import json_text, write_atomic


def run(args: Namespace) -> int:
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
