"""The files that a dataset's path stands for."""

from __future__ import annotations

from pathlib import Path

from mmrl.contracts.errors import UserError, nearest


def find_files(path: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The file itself, or those of a folder by name.

    Raises:
        UserError: nothing there, or no file of that kind.
    """
    local = Path(path).expanduser()
    if local.is_file():
        return [local]
    if not local.is_dir():
        siblings = [p.name for p in local.parent.iterdir()] if local.parent.is_dir() else []
        raise UserError(f"dataset '{path}' does not exist.{nearest(local.name, siblings)}")
    paths = sorted(p for p in local.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    if not paths:
        raise UserError(f"dataset folder '{path}' has no {' or '.join(suffixes)} file")
    return paths
