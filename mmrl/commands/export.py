"""`mmrl export`: a run's trained weights as a model or as adapters, whichever is wanted."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmrl.contracts.errors import CheckpointError, ConfigError, UserError


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", metavar="RUN", help="a run's folder; its newest checkpoint is taken")
    parser.add_argument("output", metavar="DIR", help="a folder that is new or empty")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--merged", action="store_true", help="the whole model, adapters merged, in the hub's layout")
    kind.add_argument("--adapter", action="store_true", help="the LoRA adapters alone, in peft's layout")
    parser.add_argument("--checkpoint", metavar="DIR", help="another checkpoint of the run, e.g. …/step_000012")


def run(args: Namespace) -> int:
    """Writes a run's model or its adapters, from the exact weights that training continues from."""
    print(f"written: {export(Path(args.folder), Path(args.output), args.adapter, args.checkpoint)}")
    return 0


def export(folder: Path, output: Path, adapter: bool, checkpoint: str | None = None) -> Path:
    """Writes the newest checkpoint of a run to `output`, from its exact (float32) trained weights.

    Args:
        folder: the run's.
        output: a folder that is new or empty.
        adapter: its LoRA adapters in peft's layout; else the whole model in the hub's, adapters merged.
        checkpoint: another checkpoint of the run.

    Raises:
        UserError: no run or checkpoint there, or `output` is in use.
        ConfigError: adapters of a run that trained none.
    """
    if not folder.is_dir():
        raise UserError(f"no run folder at '{folder}'")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"'{output}' is there already; give a new folder")
    from mmrl.recipe.schema import load_recipe
    from mmrl.run import newest_model, run_recipe
    from mmrl.setup import trained_policy
    from mmrl.trainer.checkpoint import give_modes, with_adapters

    recipe = load_recipe(run_recipe(folder))
    source = Path(checkpoint) if checkpoint is not None else newest_model(folder).parent
    if checkpoint is not None and not (source / "state.json").is_file():
        raise CheckpointError(f"--checkpoint: no checkpoint at '{source}'; give its folder, e.g. step_000012")
    policy = trained_policy(recipe, source)
    adapted = with_adapters(policy)
    if adapter and adapted is None:
        raise ConfigError(
            f"--adapter: '{folder}' was trained without policy.lora, so that there are no adapters; give --merged"
        )
    output.mkdir(parents=True, exist_ok=True)
    try:
        if adapter and adapted is not None:
            adapted.save_adapter(output)
        else:
            policy.save_pretrained(output)
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise
    give_modes(output)
    return output
