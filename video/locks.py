"""Who decodes a missing entry: a lock file beside it, for processes, threads and machines that share the cache.

The lock saves work and guards nothing: entries are written aside and renamed, so two holders at once cost a second
decoding and never a wrong entry. That allows the two primitives every shared file system has, exclusive creation
(O_CREAT | O_EXCL, atomic on NFS since version 3) and rename. `flock` would free itself when its holder dies, but it is
refused, or kept to one machine without a word, on several of them (Lustre without `-o flock`, many FUSE systems).

A holder touches its lock every `BEAT_S` seconds. Another takes it over when the holder is a dead process of the same
machine, or when the file has not changed for `STALE_S` seconds on the watcher's own monotonic clock, so that the clocks
of two machines are never compared.

Not filelock's `SoftFileLease` (4.3.1): it never takes over an empty lock, whose holder died before it signed, nor any
lock where renames cannot exchange two names (NFS, SMB, many FUSE systems), and it takes a zombie for a live holder.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BEAT_S = 10.0
# Above the 60 s for which NFS clients may believe old file attributes.
STALE_S = 90.0
# A holder that died between creating its lock and signing it.
UNSIGNED_STALE_S = 2.0


@dataclass(frozen=True)
class Holder:
    """What stands in a lock file: who holds it.

    Attributes:
        token: random, see `EntryLock.token`.
        machine: see `machine`.
        started: when the process of this `pid` did, in seconds since its machine's boot (see `_started`).
        since: when it took the lock (Unix seconds, by its own clock).
    """

    token: str
    machine: str
    pid: int
    started: float
    since: float = 0.0

    @property
    def dead(self) -> bool:
        """Whether it certainly is gone: a process of this machine that ended, or whose id another one has now."""
        import psutil

        if self.machine != machine():
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(_started(self.pid) - self.started) > 1.0
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


@cache
def machine() -> str:
    """Host name, boot and process-id namespace: inside one of these a process id names one process."""
    name = socket.gethostname()
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        name = f"{name}/{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    return name


class EntryLock:
    """The lock file of one entry.

    `acquire` tries once; the caller polls, so that it can look for the finished entry in between. A lock is used by one
    thread, once.

    Attributes:
        token: random, unique to this object; names the files that its holder writes aside.
    """

    def __init__(self, path: Path):
        self.path = path
        self.token = secrets.token_hex(8)
        self._handle = -1
        self._released = threading.Event()
        self._beating: threading.Thread | None = None
        self._seen: tuple[tuple[int, int], float] | None = None

    def acquire(self) -> bool:
        """Whether the lock is now ours; a lock that nobody keeps up is removed on the way.

        Raises:
            OSError: the lock file cannot be written (no space, no permission).
        """
        # Before the file is there: a lock stays unsigned for as short as can be.
        holder = Holder(self.token, machine(), os.getpid(), _own_start(os.getpid()), round(time.time(), 3))
        try:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            self._remove_if_stale()
            return False
        try:
            os.write(self._handle, json.dumps(vars(holder)).encode())
            self._beating = threading.Thread(target=self._beat, name="video-cache-lock", daemon=True)
            self._beating.start()
        except BaseException:
            self.release()
            raise
        return True

    def held(self) -> bool:
        """Whether the lock file is still the one that `acquire` made; also where the file system does not say."""
        try:
            return self._is_ours()
        except FileNotFoundError:
            return False
        except OSError as error:
            return error.errno != errno.ESTALE

    def release(self) -> None:
        """Removes the lock file, unless another holder's stands there by now; nothing where the lock is not held."""
        if self._handle < 0:
            return
        self._released.set()
        if self._beating is not None:
            self._beating.join()
        with suppress(OSError):
            if self._is_ours():
                os.unlink(self.path)
        os.close(self._handle)
        self._handle = -1

    def _is_ours(self) -> bool:
        """Whether the file at the path is the one that is held open. Raises OSError where that is not told."""
        return os.path.samestat(os.stat(self.path), os.fstat(self._handle))

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            # A network that is down for a moment; a lock that stays untouched is taken over, which costs no more than
            # a second decoding.
            with suppress(OSError):
                os.utime(self._handle)

    def _remove_if_stale(self) -> None:
        try:
            # Opening makes an NFS client ask its server; a bare stat may answer from memory.
            with self.path.open("rb") as file:
                facts, content = os.fstat(file.fileno()), file.read()
        except OSError:
            return
        state = (facts.st_ino, facts.st_mtime_ns)
        if self._seen is None or self._seen[0] != state:
            self._seen = (state, time.monotonic())
        idle = time.monotonic() - self._seen[1]
        holder = holder_in(content)
        gone = idle > UNSIGNED_STALE_S if holder is None else holder.dead or idle > STALE_S
        if gone:
            self._remove(content)

    def _remove(self, content: bytes) -> None:
        """Takes the stale lock away. One of several watchers wins the rename; a lock made meanwhile is put back."""
        aside = self.path.with_suffix(f".{self.token}.stale")
        with suppress(OSError):
            os.rename(self.path, aside)
            if aside.read_bytes() != content:
                os.link(aside, self.path)
        with suppress(OSError):
            os.unlink(aside)


@cache
def _own_start(pid: int) -> float:
    """`_started` of this process: a fork has another id. Waiting for a lock asks again and again."""
    return _started(pid)


def _started(pid: int) -> float:
    """When a process started: seconds since boot where the kernel tells, which no change of the clock moves."""
    import psutil

    try:
        # The 22nd field, in ticks; the second, a name in brackets, may hold blanks and brackets itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return psutil.Process(pid).create_time()


def holder_in(content: bytes) -> Holder | None:
    """Who signed a lock file; None where it is not signed, or damaged."""
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        return None
