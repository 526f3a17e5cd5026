"""`mmrl tiny`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mmrl.errors import UserError


def run(args: Namespace) -> int:
    """Writes the checkpoint and says where."""
    from mmrl.compat import ensure_torchvision
    from mmrl.policies.tiny import write_tiny

    ensure_torchvision()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    try:
        print(write_tiny(args.family, Path(args.folder), seed=args.seed))
    except OSError as error:
        raise UserError(f"cannot write '{args.folder}': {error.strerror or error}; choose another folder") from error
    return 0
