"""`mmrl tiny`."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from mmrl.contracts.errors import UserError
from mmrl.policies.tiny import families, sizes_of
from mmrl.recipe.policies.registry import alternatives


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments: an option for every size that some family has."""
    names = families()
    parser.add_argument("family", metavar="FAMILY", help=alternatives(names))
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (default 0)")
    owners: dict[str, list[str]] = {}
    kinds: dict[str, type] = {}
    for family in names:
        for name, value in sizes_of(family).items():
            owners.setdefault(name, []).append(family)
            kinds[name] = type(value)
    sizes = parser.add_argument_group("sizes", "of the model, instead of the family's own")
    for name, having in owners.items():
        which = "every family" if len(having) == len(names) else ", ".join(having)
        sizes.add_argument(
            _option(name),
            dest=f"size_{name}",
            metavar="NAME" if kinds[name] is str else "N",
            type=str if kinds[name] is str else _size,
            help=which,
        )


def run(args: Namespace) -> int:
    """Writes the checkpoint and says where."""
    from mmrl.policies.compat import ensure_torchvision
    from mmrl.policies.tiny import write_tiny

    ensure_torchvision()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    sizes = {key.removeprefix("size_"): value for key, value in vars(args).items() if key.startswith("size_")}
    size = {name: value for name, value in sizes.items() if value is not None}
    try:
        print(write_tiny(args.family, Path(args.folder), seed=args.seed, size=size))
    except OSError as error:
        raise UserError(f"cannot write '{args.folder}': {error.strerror or error}; choose another folder") from error
    return 0


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is not a whole number from 1 on")
    return int(text)
