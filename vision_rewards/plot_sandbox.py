"""Draws the plot of a piece of matplotlib code without trusting the code.

A helper process with an empty environment imports matplotlib once and forks a child for each drawing. The child may
use `CPU_SECONDS` of processor time and `MEGABYTES` beyond what matplotlib needs and, by a seccomp filter, can compute
and answer, nothing else: no file, no network, no other process, no sleeping. Linux only.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np

CPU_SECONDS = 1
MEGABYTES = 200
MAX_CODE = 200_000  # bytes
_HEADER = struct.Struct("<BHHI")  # state, height, width, bytes that follow
_REQUEST = struct.Struct("<III")  # processor seconds, megabytes, bytes that follow
STATES = ("ok", "time", "memory", "crash", "forbidden", "failed", "no_figure", "no_sandbox")


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
    """
    data = code.encode("utf-8", "replace")
    if len(data) > MAX_CODE:
        return None, "memory"
    try:
        return _helper().draw(data)
    except _HelperDied:
        # Killed from outside, such as by a kernel short of memory: a drawing itself cannot.
        return _helper().draw(data)


@lru_cache(maxsize=64)
def draw_cached(code: str) -> tuple[np.ndarray | None, str]:
    """`draw`, remembered: for targets, which a group of completions shares."""
    return draw(code)


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
        # The helper removes it too, since it outlives a parent that is killed.
        self.folder = tempfile.mkdtemp(prefix="plot-")
        environment = {"HOME": self.folder, "MPLCONFIGDIR": self.folder, "MPLBACKEND": "agg", "PYTHONHASHSEED": "0"}
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        script = Path(__file__).with_name("plot_sandbox_helper.py")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-B", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env={**environment, **threads},
            start_new_session=True,
        )
        try:
            state = self._header()[0]
        except BrokenPipeError:
            self.end()
            raise _HelperDied(self.process.returncode) from None
        if state == "no_sandbox":
            self.end()
            raise RuntimeError("this system refuses a seccomp filter, and without one no plot is drawn")

    def draw(self, data: bytes) -> tuple[np.ndarray | None, str]:
        with self.lock:
            try:
                self.process.stdin.write(_REQUEST.pack(CPU_SECONDS, MEGABYTES, len(data)) + data)
                self.process.stdin.flush()
                state, height, width, length = self._header()
            except BrokenPipeError:
                raise _HelperDied(self.process.wait()) from None
            pixels = self.process.stdout.read(length)
        if state != "ok":
            return None, state
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3), "ok"

    def _header(self) -> tuple[str, int, int, int]:
        header = self.process.stdout.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise BrokenPipeError
        state, *rest = _HEADER.unpack(header)
        return STATES[state], *rest

    def hang_up(self) -> None:
        """Close the line, at which the helper ends."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()

    def end(self) -> None:
        """Hang up and wait until nothing of the helper is left."""
        self.hang_up()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


_shared: _Helper | None = None
_lock = threading.Lock()


def _helper() -> _Helper:
    global _shared
    with _lock:
        if _shared is not None and _shared.process.poll() is not None:
            _shared.end()
            _shared = None
        if _shared is None:
            _shared = _Helper()
        return _shared


def _at_exit() -> None:
    if _shared is not None:
        _shared.end()


def _after_fork() -> None:
    global _shared, _lock
    if _shared is not None:
        _shared.hang_up()
        # Not this process's child: Popen must not wait for it.
        _shared.process.returncode = 0
    _shared, _lock = None, threading.Lock()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
