"""Media paths: resolved once, kept under their root, refused in words."""

import difflib
import os
from itertools import islice
from pathlib import Path
from typing import Any

from video.types import VideoError

NAMES_COMPARED = 500


def resolve(source: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Path:
    """The existing file or folder that `source` names, absolute and without symlinks.

    Args:
        source: a path, optionally written as file://; relative paths start at `root`, or at the working folder.
        root: folder that the path must stay under after symlinks are followed; None allows any file.

    Raises:
        VideoError: `outside_root`, or `missing` (which includes URLs: nothing is ever downloaded).
    """
    name = os.fspath(source).removeprefix("file://")
    if "://" in name[:16]:
        raise VideoError("missing", name, "is a URL", "download the file and give its path")
    try:
        base = Path(root or ".").resolve()
        full = (base / name).resolve()
        inside = root is None or full.is_relative_to(base)
        usable = full.is_file() or full.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise VideoError("missing", repr(name), f"is not a usable path ({error})", "correct the path") from error
    if not inside:
        raise VideoError(
            "outside_root", name, f"leaves the media folder '{base}'", "move the file there or change root"
        )
    if not usable:
        near = difflib.get_close_matches(full.name, _names(full.parent), n=1)
        cure = f"did you mean '{near[0]}'?" if near else f"check the path; it was looked for at '{full}'"
        raise VideoError("missing", name, "no such file or folder", cure)
    return full


def source_name(source: Any) -> str:
    """A source as messages and entries name it: lists by their first image."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {len(source)} bytes"
    if isinstance(source, list | tuple):
        first = source[0] if source else None
        first_name = f", the first '{os.fspath(first)}'" if isinstance(first, str | os.PathLike) else ""
        return f"list of {len(source)} images{first_name}"
    return type(source).__name__


def _names(folder: Path) -> list[str]:
    return [path.name for path in islice(folder.iterdir(), NAMES_COMPARED)] if folder.is_dir() else []
