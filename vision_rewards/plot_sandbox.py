"""Draws the plot of a piece of matplotlib code without trusting the code.

A helper process with an empty environment imports matplotlib once and forks a child for each drawing. Code and picture
travel over pipes between this process and the child: the helper, of which every child is a copy, never holds either,
so that there is nothing in a child but its own code. The code of targets is drawn by a helper of its own. The child may
use `CPU_SECONDS` of processor time and `MEGABYTES` beyond what matplotlib needs and, by a seccomp filter, can compute
and answer, nothing else: no file (nor whether there is one), no network, no other process, no sleeping. Linux only.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from vision_rewards.plot_sandbox_helper import (
    DRAW,
    END,
    GONE,
    HEADER,
    LONG_SIDE,
    NO_FIGURE,
    OK,
    READY,
    REQUEST,
    STATUS,
    TIME,
)
from vision_rewards.pool import FIRST_WAIT, OUTSIDE, TRIES, WorkerKilled

CPU_SECONDS = 1
MEGABYTES = 200
CLOCK_SECONDS = 5.0  # for one drawing; processor time is what normally ends it
PREFIX, IN_USE = "plot-", "in_use"  # a helper's folder, and the lock in it
MAX_CODE = 200_000  # bytes
MAX_REPLY = HEADER.size + 3 * LONG_SIDE * LONG_SIDE
STATES = ("ok", "time", "memory", "crash", "forbidden", "failed", "no_figure")
SCRIPT = Path(__file__).with_name("plot_sandbox_helper.py")


def draw(code: str) -> tuple[np.ndarray | None, str]:
    """Run plotting code and return its last figure.

    Calls that show, save or close figures do nothing; random numbers start from a fixed seed.

    Args:
        code: Python that imports nothing but matplotlib, numpy and a few modules of the standard library.

    Returns:
        (uint8 [H, W, 3], read-only, the longer side 256 pixels; "ok"), or (None, reason): "time", "memory", "crash",
        "forbidden" (an import, or a name, that plotting does not need), "failed" (it raised an exception), "no_figure".

    Raises:
        ImportError: matplotlib is not installed.
        RuntimeError: this system cannot confine the child, or the helper process died, twice in a row.
        WorkerKilled: the child was killed from outside, again and again.
    """
    return _draw(code.encode("utf-8", "replace"), "answers")


@lru_cache(maxsize=64)
def draw_target(code: str) -> tuple[np.ndarray | None, str]:
    """`draw` for the code of targets: remembered, since a group of completions shares it, and drawn apart from them."""
    return _draw(code.encode("utf-8", "replace"), "targets")


def _draw(data: bytes, room: str) -> tuple[np.ndarray | None, str]:
    if len(data) > MAX_CODE:
        return None, "memory"
    try:
        return _helper(room).draw(data)
    except _HelperDied:
        # Killed from outside, such as by a kernel short of memory: a drawing itself cannot.
        return _helper(room).draw(data)


class _HelperDied(RuntimeError):
    def __init__(self, code: int):
        super().__init__(f"the helper process that draws plots ended with code {code}")


class _Helper:
    """The process that forks children. Threads take turns."""

    def __init__(self):
        if sys.platform != "linux":
            raise RuntimeError(f"drawing plots of untrusted code needs Linux's seccomp, and this is {sys.platform}")
        if importlib.util.find_spec("matplotlib") is None:
            raise ImportError("drawing plots needs matplotlib: pip install matplotlib")
        self.lock = threading.Lock()
        _remove_abandoned(Path(tempfile.gettempdir()))
        # The helper removes it too, since it outlives a parent that is killed.
        self.folder = tempfile.mkdtemp(prefix=PREFIX)
        # While the helper lives it holds this lock, by which a later start tells a folder that is in use.
        lock_file = os.open(os.path.join(self.folder, IN_USE), os.O_RDONLY | os.O_CREAT, 0o600)
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        environment = {"HOME": self.folder, "MPLCONFIGDIR": self.folder, "MPLBACKEND": "agg", "PYTHONHASHSEED": "0"}
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-B", str(SCRIPT)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.folder,
                env={**environment, **threads},
                start_new_session=True,
                pass_fds=[lock_file],
            )
        os.close(lock_file)
        try:
            ready = self._heard()
        except ConnectionError:
            self.end()
            raise _HelperDied(self.process.returncode) from None
        if ready != READY:
            self.end()
            raise RuntimeError("this system refuses a seccomp filter, and without one no plot is drawn")

    def draw(self, data: bytes) -> tuple[np.ndarray | None, str]:
        with self.lock:
            try:
                for tries in range(TRIES):
                    time.sleep(FIRST_WAIT * 2 ** (tries - 1) if tries else 0)
                    reply, late, status, by_itself = self._run(data)
                    if not by_itself or late or not _killed(status):
                        return _outcome(reply, late, status)
                raise WorkerKilled(f"the process that draws a plot was killed from outside, {TRIES} times in a row")
            except ConnectionError:
                raise _HelperDied(self.process.wait()) from None
            except BaseException:
                # Interrupted in between: what the helper says next would belong to this drawing.
                self.end()
                raise

    def _run(self, data: bytes) -> tuple[bytes, bool, int, bool]:
        """What the child answered, whether it took too long, with what status it ended, and whether by itself."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            request, output = _pipe(theirs, ours), _pipe(ours, theirs)
            socket.send_fds(self.line, [DRAW], [request[0], output[1]])
            theirs.close()
            deadline = time.monotonic() + CLOCK_SECONDS
            # A child that died at once leaves a broken pipe, as its status says too.
            with contextlib.suppress(BrokenPipeError), open(request[1], "wb", closefd=False) as file:
                file.write(REQUEST.pack(CPU_SECONDS, MEGABYTES, len(data)) + data)
            reply = _read(output[0], deadline)
            late = time.monotonic() >= deadline
            self.line.send(END if late or len(reply) >= min(_needed(reply), MAX_REPLY + 1) else GONE)
            return reply, late, *STATUS.unpack(self._heard())

    def _heard(self) -> bytes:
        message = self.line.recv(16)
        if not message:
            raise ConnectionResetError
        return message

    def hang_up(self) -> None:
        """Close the line, at which the helper ends."""
        self.line.close()

    def end(self) -> None:
        """Hang up and wait until nothing of the helper is left."""
        self.hang_up()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_abandoned(place: Path) -> None:
    """Removes the folders of helpers that were killed together with their parents.

    One that was made less than a minute ago is left alone: its helper may not hold its lock yet.
    """
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / IN_USE).open("rb") as lock:
            facts = os.fstat(lock.fileno())
            if facts.st_uid == os.getuid() and time.time() - facts.st_mtime > 60.0:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """The two ends of a pipe, which close with `reader` and `writer`."""
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    return ends


def _read(source: int, deadline: float) -> bytes:
    """What comes until the answer is whole, too long, or the other end closes.

    Not only the end: a process that was forked from this one at the wrong moment would keep it open.
    """
    reply = b""
    while len(reply) < min(_needed(reply), MAX_REPLY + 1):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([source], [], [], left)[0]:
            break
        chunk = os.read(source, 1 << 16)
        if not chunk:
            break
        reply += chunk
    return reply


def _killed(status: int) -> bool:
    """Whether a child ended by a signal that it cannot raise itself: its limits end in others, the filter in SIGSYS."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in OUTSIDE


def _needed(reply: bytes) -> int:
    return HEADER.size + (HEADER.unpack_from(reply)[3] if len(reply) >= HEADER.size else 0)


def _outcome(reply: bytes, late: bool, status: int) -> tuple[np.ndarray | None, str]:
    """The picture, or why there is none: a limit that was broken, or an answer that is none."""
    if late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return None, "time"
    if HEADER.size <= len(reply) <= MAX_REPLY:
        state, height, width, length = HEADER.unpack_from(reply)
        whole = len(reply) == _needed(reply)
        if whole and state == OK and length == 3 * height * width > 0:
            return np.frombuffer(reply, np.uint8, length, HEADER.size).reshape(height, width, 3), "ok"
        if whole and TIME < state <= NO_FIGURE:
            return None, STATES[state]
    return None, "crash"


_helpers: dict[str, _Helper] = {}
_lock = threading.Lock()


def _helper(room: str) -> _Helper:
    """The helper of "answers" or of "targets"."""
    with _lock:
        if room in _helpers and _helpers[room].process.poll() is not None:
            _helpers.pop(room).end()
        if room not in _helpers:
            _helpers[room] = _Helper()
        return _helpers[room]


def _at_exit() -> None:
    for helper in _helpers.values():
        helper.end()


def _after_fork() -> None:
    global _lock
    for helper in _helpers.values():
        helper.hang_up()
        # Not this process's child: Popen must not wait for it.
        helper.process.returncode = 0
    _helpers.clear()
    _lock = threading.Lock()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
