"""Checking the entries of a cache one by one, and taking broken ones away while others use it."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from video.entries import BadEntry, read_entry
from video.inventory import Item, key_of, scan
from video.provenance import other_versions


@dataclass(frozen=True)
class Verdict:
    """What checking one file of a cache came to.

    Attributes:
        problem: what is wrong with it; None: nothing, or it is gone.
        removed: it was taken away.
        kept: why it was not, where that was asked for: in words.
        versions: packages that made its pixels in another version than the one here: "av 17.0 (here 18.1)".
    """

    problem: str | None = None
    removed: bool = False
    kept: str | None = None
    versions: tuple[str, ...] = ()


def check(item: Item) -> str | None:
    """Reads every byte of an entry: None if it is whole and where it belongs, else what is wrong."""
    return verify(item).problem


def verify(item: Item, remove: bool = False) -> Verdict:
    """Reads every byte of an entry, and removes it if it is broken or out of place.

    An entry that is made anew while it is checked stays. Nothing is raised for a file that cannot be read or removed.
    """
    try:
        # An open file's inode number is not given to another: the file that was read is known again by it.
        with open(item.path, "rb") as file:
            facts = os.fstat(file.fileno())
            problem, versions = _inspect(item)
            # Checking is no use: the order of eviction stays.
            with suppress(OSError):
                os.utime(file.fileno(), ns=(facts.st_atime_ns, facts.st_mtime_ns))
            if problem is None or not remove:
                return Verdict(problem, versions=versions)
            return _removed(item.path, facts, problem)
    except FileNotFoundError:
        return Verdict()
    except IsADirectoryError:
        return Verdict("a folder in the place of an entry", kept="no file of the cache" if remove else None)
    except OSError as error:
        problem = f"cannot be opened ({error.strerror or error})"
        return Verdict(problem, kept="what cannot be read may be whole" if remove else None)


def sweep(item: Item) -> Verdict:
    """Removes an unfinished file or a lock, unless somebody has taken it up since it was listed."""
    try:
        if item.path.stat().st_mtime > item.written:
            return Verdict()
        item.path.unlink()
    except FileNotFoundError:
        return Verdict()
    except OSError as error:
        return Verdict(f"{item.kind} of a dead writer", kept=error.strerror or str(error))
    return Verdict(f"{item.kind} of a dead writer", removed=True)


def remove_abandoned(root: Path) -> int:
    """Removes what dead writers left in a cache; how many files that were."""
    return sum(sweep(item).removed for item in scan(root) if item.abandoned)


def _inspect(item: Item) -> tuple[str | None, tuple[str, ...]]:
    try:
        entry = read_entry(item.path)
        key = key_of(entry.header["identity"])
        if key != item.key:
            return f"foreign: it is the entry of key {key}", ()
        entry.frames()
        return None, other_versions(entry.provenance)
    except BadEntry as problem:
        return None if problem.kind == "absent" else str(problem), ()


def _removed(path: Path, facts: os.stat_result, problem: str) -> Verdict:
    """Takes a file away if it still is the one that `facts` are of; one made since is put back."""
    aside = path.with_suffix(f".{secrets.token_hex(8)}.stale")
    try:
        if not os.path.samestat(os.stat(path), facts):
            return Verdict()
        os.rename(path, aside)
    except FileNotFoundError:
        return Verdict()
    except OSError as error:
        return Verdict(problem, kept=error.strerror or str(error))
    if not os.path.samestat(os.stat(aside), facts):
        _put_back(aside, path)
        return Verdict()
    os.unlink(aside)
    return Verdict(problem, removed=True)


def _put_back(aside: Path, path: Path) -> None:
    """Under its own name again, unless a newer entry of the same key stands there by now."""
    try:
        os.link(aside, path)
    except FileExistsError:
        os.unlink(aside)
    except OSError:
        # A file system without hard links. Entries of one key hold the same frames: either may stay.
        os.replace(aside, path)
    else:
        os.unlink(aside)
