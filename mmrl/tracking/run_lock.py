"""One run, one process: the lock in a run's folder.

    .run.0001.lock   host, process id, when that process started and since when it holds the lock, as JSON

It needs what every shared file system has, exclusive creation (see `video.locks`). The lock of a holder that is gone is
not removed first: the next number is made beside it, which one process alone can, and then all files are looked at
again. So of several processes that take over at once at most one goes on, and none removes the lock of another.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mmrl.contracts.errors import UserError
from video.locks import STALE_S, UNSIGNED_STALE_S, EntryLock, Holder, holder_in, machine

NOTHING: Mapping[Path, bytes] = {}
PATTERN = ".run.[0-9][0-9][0-9][0-9].lock"


class RunLock:
    """The lock of one run's folder.

    Attributes:
        took_over: who held it before and is gone, in words; empty where nobody did.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.took_over: list[str] = []
        self._lock: EntryLock | None = None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            UserError: another process holds it; nothing is left in the folder.
            OSError: the folder is gone, or cannot be written.
        """
        while True:
            gone = refuse_beside_another(self.folder)
            number = max((int(path.name.split(".")[2]) for path in gone), default=0) + 1
            lock = EntryLock(self.folder / f".run.{number:04d}.lock")
            if lock.acquire():
                break
        try:
            refuse_beside_another(self.folder, {lock.path: b"", **gone})
        except UserError:
            lock.release()
            raise
        self._lock = lock
        self.took_over = [named(holder_in(content)) for content in gone.values()]
        for path in gone:
            path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises UserError where another process has taken the lock, which this one held, meanwhile."""
        if self._lock is not None and not self._lock.held():
            contents = [_content(path) for path in sorted(self.folder.glob(PATTERN))]
            signed = [content for content in contents if content is not None]
            by = f"{named(holder_in(signed[-1]))} runs there now" if signed else "its lock was removed"
            raise UserError(
                f"run '{self.folder}' is no longer this process's, which stood still for over {STALE_S:g} s: {by}, so "
                "this one ends here"
            )

    def release(self) -> None:
        """Lets go of it; nothing where it is not held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def refuse_beside_another(folder: Path, known: Mapping[Path, bytes] = NOTHING) -> dict[Path, bytes]:
    """Raises UserError where a process holds the run's folder, and names it.

    Args:
        known: lock files that need no look: our own, and those of holders that are gone.

    Returns:
        the lock files of holders that are gone, with what stands in them.
    """
    gone: dict[Path, bytes] = {}
    for path in sorted(folder.glob(PATTERN)):
        if path in known:
            continue
        content = _abandoned(path)
        if content is None:
            continue
        if isinstance(content, bytes):
            gone[path] = content
            continue
        raise UserError(
            f"run '{folder}' is in use by {named(content)}: wait for it, end it, or change `name`; "
            "`mmrl report`, `compare` and `eval` read beside it"
        )
    return gone


def _abandoned(path: Path) -> bytes | Holder | None:
    """What stands in a lock whose holder is gone; or the holder that keeps it up; None where the file has gone."""
    deadline = time.monotonic() + UNSIGNED_STALE_S
    while True:
        try:
            # Opening makes an NFS client ask its server; a bare stat may answer from memory.
            with path.open("rb") as file:
                touched, content = os.fstat(file.fileno()).st_mtime, file.read()
        except FileNotFoundError:
            return None
        holder = holder_in(content)
        if holder is None and time.monotonic() <= deadline:
            # It was made a moment ago, or its holder died before it signed.
            time.sleep(0.02)
            continue
        if holder is None or holder.dead:
            return content
        if holder.machine != machine() and time_of(path.parent) - touched > STALE_S:
            return content
        return holder


def _content(path: Path) -> bytes | None:
    """What stands in a lock; None where its holder has let go of it since it was listed."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def time_of(folder: Path) -> float:
    """The time by the clock that stamps files there: two machines' clocks are never compared. 0: it is not told."""
    probe = folder / f".run.{secrets.token_hex(8)}.probe"
    with suppress(OSError):
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()
    # It cannot be written, so that nobody takes it over.
    return 0.0


def named(holder: Holder | None) -> str:
    """A holder in words."""
    if holder is None:
        return "a process that died before it signed"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    return f"process {holder.pid} on {holder.machine.partition('/')[0]} (since {since})"
