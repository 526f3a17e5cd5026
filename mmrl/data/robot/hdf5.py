"""HDF5 files, opened for as long as one read takes: a dataset then survives forks and thousands of files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import BadSample, UserError
from mmrl.data.unchanged import FileStates

INSTALL = "pip install 'h5py>=3.10'"


@contextmanager
def open_h5(path: Path, states: FileStates | None = None) -> Iterator[Any]:
    """The file as `h5py.File`, to read.

    Args:
        states: of the dataset's files, which says whether this one is what it was.

    Raises:
        UserError: h5py is absent, the file is none of its kind or has changed since it was first opened, or parts of it
            lie in other files.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"'{path}' is HDF5, and h5py is not installed: {INSTALL}") from error
    facts = path.stat()
    if states is not None:
        states.check(path, facts)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"'{path}' is no HDF5 file, or is cut short ({_short(error)}); copy it again") from None
    with file:
        _refuse_others(file, (os.path.abspath(path), facts.st_size, facts.st_mtime_ns))
        yield file


_closed: set[tuple[str, int, int]] = set()


def _refuse_others(file: Any, state: tuple[str, int, int]) -> None:
    """Raises UserError where a file has bytes of other files read in its place: once for each state of a file.

    HDF5 lets a dataset name any file of the machine as where its values lie, and a link name another file's member.
    """
    if state in _closed:
        return
    refused: list[str] = []

    def look(name: str, member: Any) -> Any:
        refused.extend(_others(name, member))
        return True if refused else None

    refused.extend(_others("", file))
    file.visititems(look)
    if refused:
        raise UserError(f"'{file.filename}': {refused[0]}; mmrl reads what lies in the file itself: repack it")
    _closed.add(state)


def _others(name: str, member: Any) -> Iterator[str]:
    """What of a member lies in other files."""
    import h5py

    if isinstance(member, h5py.Group):
        for key in member:
            if not isinstance(member.get(key, getlink=True), h5py.HardLink | h5py.SoftLink):
                yield f"'{name}/{key}' is a link out of the file"
    elif isinstance(member, h5py.Dataset):
        if member.external:
            yield f"the values of '{name}' are stored in another file, '{member.external[0][0]}'"
        elif member.is_virtual and any(source.file_name != "." for source in member.virtual_sources()):
            yield f"'{name}' is put together of other files"


def numbered(group: Any, prefix: str) -> list[tuple[int, str]]:
    """(number, key) of the members `<prefix><number>`, by number."""
    rest = ((key.removeprefix(prefix), key) for key in group if key.startswith(prefix))
    return sorted((int(number), key) for number, key in rest if number.isdigit())


def read_vectors(group: Any, key: str, place: str) -> np.ndarray:
    """float32 [T, D] of a dataset; a list of T numbers becomes [T, 1].

    Raises:
        UserError: no such dataset, or one of another shape.
    """
    import h5py

    member = group.get(key)
    if not isinstance(member, h5py.Dataset):
        keys = ", ".join(sorted(group)) or "nothing"
        raise UserError(f"{place}: '{key}' is {'a group' if member is not None else 'missing'}; there is {keys}")
    values = np.asarray(member[()], dtype=np.float32)
    if values.ndim not in (1, 2):
        raise UserError(f"{place}: '{key}' has shape {values.shape}, expected a vector per step")
    return values[:, None] if values.ndim == 1 else values


def read_state(parts: Mapping[str, np.ndarray], place: str) -> np.ndarray:
    """float32 [T, S]: vectors of each step, one behind the other.

    Args:
        parts: name -> float32 [T, D].

    Raises:
        UserError: the parts differ in length.
    """
    if len({len(values) for values in parts.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in parts.items())
        raise UserError(f"{place} is damaged: lengths {lengths} must be equal; copy the file again")
    return np.concatenate(list(parts.values()), axis=1)


def read_picture(file: Any, key: str, step: int, where: str) -> np.ndarray:
    """uint8 [H, W, 3]: one picture of a dataset of them. Raises BadSample."""
    try:
        pixels = file[key][step]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise BadSample(where, f"'{file.filename}': picture '{key}' cannot be read ({_short(error)})") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise BadSample(
            where, f"'{file.filename}': '{key}' holds {pixels.dtype} {pixels.shape}, expected uint8 [H, W, 3]"
        )
    return pixels


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
