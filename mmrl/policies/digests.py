"""What lies in a checkpoint, with a digest of each file, so that damage is seen before anything is loaded.

`files` of state.json holds the XXH3-128 of every other file, and `digest` that of state.json's own content. They see
every flipped bit and every cut or missing file. They are no signature: whoever can write a checkpoint can make them
fit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from mmrl.contracts.errors import CheckpointError, first_line, shortened

STATE = "state.json"
# 2: with digests.
FORMAT = 2
_STEP = re.compile(r"step_(\d+)")


def listed(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, by step; damaged ones too."""
    if not folder.is_dir():
        return []
    steps = {path: match for path in folder.iterdir() if (match := _STEP.fullmatch(path.name)) and path.is_dir()}
    return sorted(steps, key=lambda path: int(steps[path][1]))


def digests_of(folder: Path) -> dict[str, str]:
    """The digest of every file below `folder` but state.json, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / STATE)
    return {path.relative_to(folder).as_posix(): digest_of_file(path) for path in paths}


def digest_of_file(path: Path) -> str:
    """XXH3-128, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()  # type: ignore[arg-type]


def signed(state: Mapping[str, Any]) -> str:
    """The text of state.json: the state, and the digest of it."""
    plain = json.loads(json.dumps({"format": FORMAT, **state}))
    return json.dumps({**plain, "digest": _digest_of_state(plain)}, indent=1)


def _digest_of_state(state: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(state, sort_keys=True).encode())


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The state of a checkpoint, as it was written.

    Raises:
        CheckpointError: one line; it is missing, damaged, edited, or of another format.
    """
    try:
        state = json.loads((checkpoint / STATE).read_bytes())
    except FileNotFoundError:
        raise damaged(checkpoint, f"{STATE} is missing") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint '{checkpoint}' cannot be read: {first_line(error)}") from None
    except (ValueError, RecursionError) as error:
        raise damaged(checkpoint, f"{STATE} is no JSON ({first_line(error)})") from None
    if not isinstance(state, dict):
        raise damaged(checkpoint, f"{STATE} holds no mapping")
    if state.get("format") != FORMAT:
        # An edited or damaged number reads as another format too.
        other = shortened(str(state.get("format")))
        raise CheckpointError(f"checkpoint '{checkpoint}' has format {other}; this version reads {FORMAT}")
    if state.pop("digest", None) != _digest_of_state(state):
        raise damaged(checkpoint, f"{STATE} is not as it was written")
    if not isinstance(state.get("files"), dict):
        raise damaged(checkpoint, f"{STATE} names no files")
    return state


def verify(checkpoint: Path, below: str = "") -> dict[str, Any]:
    """Reads every file of a checkpoint whose path begins with `below`. Files that it was not written with are let be.

    Returns:
        its state.

    Raises:
        CheckpointError: one line; a file is missing or not as it was written; also as `read_state`.
    """
    state = read_state(checkpoint)
    for name, digest in state["files"].items():
        if not name.startswith(below):
            continue
        try:
            same = digest_of_file(checkpoint / name) == digest
        except FileNotFoundError:
            raise damaged(checkpoint, f"{name} is missing") from None
        except OSError as error:
            raise damaged(checkpoint, f"{name} cannot be read: {first_line(error)}") from None
        if not same:
            raise damaged(checkpoint, f"{name} is not as it was written")
    return state


def verify_model(folder: Path) -> None:
    """As `verify`, of the `model/` or `adapter/` of a checkpoint; nothing where the folder is none.

    Raises:
        CheckpointError: as `verify_or_name`.
    """
    checkpoint = folder.absolute().parent
    if folder.name not in ("model", "adapter") or not (checkpoint / STATE).is_file():
        return
    try:
        verify_or_name(checkpoint, f"{folder.name}/")
    except CheckpointError as error:
        cure = f"a model that you changed yourself is read from a copy of {folder.name}/"
        raise CheckpointError(f"{error}; {cure}") from None


def verify_or_name(checkpoint: Path, below: str = "") -> dict[str, Any]:
    """As `verify`; its error also names the newest whole checkpoint beside a damaged one."""
    try:
        return verify(checkpoint, below)
    except CheckpointError as error:
        raise naming_whole(error, checkpoint) from None


def naming_whole(error: CheckpointError, checkpoint: Path) -> CheckpointError:
    """The error of a damaged checkpoint, which also names the newest whole one beside it."""
    whole = newest_whole(checkpoint)
    return CheckpointError(f"{error}; the newest whole one is '{whole}'" if whole else str(error))


def newest_whole(checkpoint: Path) -> Path | None:
    """The newest other checkpoint in the same folder that is whole."""
    for other in reversed(listed(checkpoint.parent)):
        if other.name == checkpoint.name:
            continue
        try:
            verify(other)
        except CheckpointError:
            continue
        return other
    return None


def damaged(checkpoint: Path, reason: str) -> CheckpointError:
    """The error for a checkpoint that is not as it was written, or that its run has removed in the meantime."""
    if not checkpoint.is_dir():
        return CheckpointError(f"checkpoint '{checkpoint}' is gone: its run keeps the newest ones; take one of them")
    return CheckpointError(f"checkpoint '{checkpoint}' is damaged: {reason}")
