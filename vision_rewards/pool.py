"""Work on model text within limits: a shared pool of processes that can be killed.

A timeout in the same process cannot stop C code and a signal works in the main thread only, so whatever may run long or
grow large on hostile text (symbolic algebra, tree edit distance, rendering) goes through `bounded`.
"""

from __future__ import annotations

import atexit
import collections
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Pipe
from typing import Any

LOAD_SECONDS = 120.0  # for a worker to start and to import a function's module
CLOCK_FACTOR = 5.0
# Calls whose worker was killed from outside are repeated: a machine short of memory kills in series, so after waits
# that double, 3 s in all.
TRIES = 7
FIRST_WAIT = 0.05
# Nothing that an answer does ends a worker by these: its limits end in SIGXCPU or MemoryError.
OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
WORKERS_VARIABLE = "VISION_REWARDS_WORKERS"
_START = (
    "import json, pickle, sys; sys.path[:] = json.loads(sys.argv[1]); pickle.loads(bytes.fromhex(sys.argv[2])); "
    "from vision_rewards.pool_worker import serve; serve(int(sys.argv[3]), int(sys.argv[4]))"
)
# One arena and one thread, since reserved address space counts as memory; a fixed hash seed, since scores must repeat.
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}


class Exceeded(RuntimeError):
    """A call broke a limit, and its worker has been replaced.

    Attributes:
        kind: "time", "memory", or "crash" where the worker died by itself, twice in a row.
    """

    def __init__(self, kind: str, detail: str):
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


class WorkerKilled(RuntimeError):
    """Something outside, such as a kernel short of memory or an operator, killed the worker of a call at every try.

    That says nothing about the call's arguments, so no score may follow from it.
    """


def bounded(function: Callable[..., Any] | str, *args: Any, seconds: float = 1.0, megabytes: float = 200) -> Any:
    """Call a function in a worker process and return its value.

    Workers start at first use, stay warm, belong to the process that started them and end with it. Any number of
    threads may call; those beyond the number of workers wait, which does not count as their time.

    Args:
        function: at the top level of an importable module; or "module:function", which this process then never imports.
            Its module is loaded before the limits hold, so what is slow to import belongs at the module's top.
        args: picklable.
        seconds: processor time, so that a loaded machine changes no score; by the clock `CLOCK_FACTOR` times as much.
        megabytes: what the call may add to the worker's address space (not enforced on macOS, whose kernel does not).

    Raises:
        Exceeded: a limit was broken, or the worker crashed.
        WorkerKilled: the worker was killed from outside, `TRIES` times in a row.
        ValueError: the function cannot be named to another process.
        Exception: whatever the function raised, as it is.
    """
    name = _name(function)
    request = pickle.dumps(("call", name, args, seconds, megabytes), pickle.HIGHEST_PROTOCOL)
    pool = _shared_pool()
    killed = crashes = 0
    while True:
        try:
            return pool.run(name, request, seconds)
        except Exceeded as error:
            crashes += 1
            if error.kind != "crash" or crashes == 2:
                raise
        except WorkerKilled as error:
            killed += 1
            if killed == TRIES:
                raise WorkerKilled(
                    f"{error}, {TRIES} times in a row, by something outside: is the machine short of memory? "
                    f"fewer workers (${WORKERS_VARIABLE}) need less"
                ) from None
            time.sleep(FIRST_WAIT * 2 ** (killed - 1))


def set_workers(count: int | None) -> None:
    """How many workers this process may have; None: `$VISION_REWARDS_WORKERS`, or its cores, at most 4.

    Running calls finish first where they are; idle workers end.
    """
    global _pool
    with _pool_lock:
        old, _pool = _pool, None if count is None else _Pool(count)
    if old is not None:
        old.close()


def worker_pids() -> list[int]:
    """Process ids of this process's idle workers, the one that is used next last."""
    pool = _pool
    return [worker.process.pid for worker in list(pool.idle)] if pool is not None else []


def _default_workers() -> int:
    value = os.environ.get(WORKERS_VARIABLE)
    if value is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, 4)
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"${WORKERS_VARIABLE} is {value!r}, not a number of processes, 1 or more")
    return int(value)


def _name(function: Callable[..., Any] | str) -> str:
    if isinstance(function, str):
        return function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    known = sys.modules.get(module or "")
    if module in (None, "__main__") or getattr(known, name, None) is not function:
        raise ValueError(f"bounded: {function!r} is not a function at the top level of an importable module")
    return f"{module}:{name}"


def resolve(name: str) -> Callable[..., Any]:
    """The function that "module:function" names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


class _Worker:
    """One process and the line to it. Used by one thread at a time."""

    def __init__(self, preload: tuple[str, ...] = ()):
        self.link, theirs = Pipe()
        path = json.dumps([str(entry) for entry in sys.path])
        # Finders that put themselves in place where they are unpickled.
        finders = pickle.dumps([each for each in sys.meta_path if getattr(each, "for_children", False)]).hex()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, path, finders, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **_ENVIRONMENT},
            )
        self.cpu = 0.0  # processor seconds at the end of its last answer
        self.loading: list[str] = []
        self.loaded: list[str] = []
        for name in preload:
            self._load(name)

    def call(self, name: str, request: bytes, seconds: float) -> tuple[str, Any, bool]:
        """Send one request: (state, value, whether the worker should retire)."""
        try:
            if name not in self.loaded and name not in self.loading:
                self._load(name)
            while self.loading:
                state, value, _ = self._answer(LOAD_SECONDS, LOAD_SECONDS)
                loaded_name = self.loading.pop(0)
                if state == "ok":
                    self.loaded.append(loaded_name)
                elif loaded_name == name:
                    return state, value, False
            self.link.send_bytes(request)
            return self._answer(seconds, CLOCK_FACTOR * seconds)
        except (EOFError, ConnectionError, BrokenPipeError):
            raise self._death() from None

    def _load(self, name: str) -> None:
        self.loading.append(name)
        try:
            self.link.send_bytes(pickle.dumps(("load", name)))
        except (ConnectionError, BrokenPipeError):
            # It is noticed, and the worker replaced, where the answer is read.
            return

    def _answer(self, seconds: float, clock: float) -> tuple[str, Any, bool]:
        start = time.monotonic()
        wait = seconds
        while not self.link.poll(wait):
            wait = min(seconds - self._cpu_used(), start + clock - time.monotonic())
            if wait <= 0:
                raise Exceeded("time", f"not done after {seconds:g} s")
            wait = max(wait, 0.01)
        state, payload, retire, self.cpu = pickle.loads(self.link.recv_bytes())
        return state, pickle.loads(payload), retire

    def _cpu_used(self) -> float:
        import psutil

        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system - self.cpu

    def _death(self) -> Exceeded | WorkerKilled:
        code = self.process.wait()
        if -code in OUTSIDE:
            return WorkerKilled(f"a worker process of a reward was killed by {signal.Signals(-code).name}")
        if code == -signal.SIGXCPU:
            return Exceeded("time", "the worker used up its processor time")
        return Exceeded("crash", f"the worker ended with {signal.Signals(-code).name if code < 0 else f'code {code}'}")

    def end(self) -> None:
        """Kill the process and reap it."""
        self.link.close()
        self.process.kill()
        self.process.wait()

    def forget(self) -> None:
        """Let go of it in a forked child, whose worker it is not."""
        self.link.close()
        # Popen would otherwise warn about a process that it cannot wait for.
        self.process.returncode = 0


class _Pool:
    """At most `count` workers; the most recently used one is used next."""

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"a pool of {count} workers: 1 or more are needed")
        self.slots = threading.BoundedSemaphore(count)
        self.idle: collections.deque[_Worker] = collections.deque()
        self.busy: set[_Worker] = set()
        self.closed = False

    def run(self, name: str, request: bytes, seconds: float) -> Any:
        with self.slots:
            worker = self._take()
            self.busy.add(worker)
            try:
                state, value, retire = worker.call(name, request, seconds)
            except BaseException:
                # Its state is unknown, also after an interrupt; the next call should not wait for a new start.
                self._replace(worker)
                raise
            self.busy.discard(worker)
            if retire or state == "memory" or self.closed:
                self._replace(worker)
            else:
                self.idle.append(worker)
        if state == "ok":
            return value
        if state == "error":
            raise value
        raise Exceeded(state, value)

    def _take(self) -> _Worker:
        while self.idle:
            worker = self.idle.pop()
            if worker.process.poll() is None:
                return worker
            worker.end()
        return _Worker()

    def _replace(self, worker: _Worker) -> None:
        self.busy.discard(worker)
        worker.end()
        if not self.closed:
            self.idle.append(_Worker(tuple(worker.loaded)))

    def close(self) -> None:
        """End the idle workers; busy ones end after their call."""
        self.closed = True
        while self.idle:
            self.idle.pop().end()

    def forget(self) -> None:
        """Let go of every worker in a forked child."""
        for worker in (*self.idle, *self.busy):
            worker.forget()


_pool: _Pool | None = None
_pool_lock = threading.Lock()


def _shared_pool() -> _Pool:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = _Pool(_default_workers())
        return _pool


def _at_exit() -> None:
    if _pool is not None:
        _pool.closed = True
        for worker in (*_pool.idle, *_pool.busy):
            worker.process.kill()
            worker.process.wait()


def _after_fork() -> None:
    global _pool, _pool_lock
    if _pool is not None:
        _pool.forget()
    _pool, _pool_lock = None, threading.Lock()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
