"""Writing files whole or not at all, and turning values into JSON."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one-line error for a path that could not be written."""
    reason = error.strerror or str(error)
    return UserError(f"cannot write '{path}': {reason}; free disk space or choose a writable `output` folder")


def write_atomic(path: Path, content: str | bytes) -> Path:
    """Writes `content` so that readers see the old file or the new one, never a part. Makes parent folders.

    Returns:
        `path`.

    Raises:
        UserError: the disk is full or the path cannot be written.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            # mkstemp's 0600 would hide the run from everyone else on a shared machine.
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
    return path


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network filesystems refuse to sync a folder; the file itself is already on disk.
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def to_plain(value: Any) -> Any:
    """`value` as JSON can hold it: mappings, lists, strings, numbers; NaN and infinities become None."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [to_plain(item) for item in sorted(value, key=str)]
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    return str(value)


def json_line(value: Mapping[str, Any]) -> str:
    """One line of JSON, newline included; text stays readable (no \\u escapes)."""
    return json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False) + "\n"


def json_text(value: Mapping[str, Any]) -> str:
    """Indented JSON with a final newline."""
    return json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False, indent=2) + "\n"
