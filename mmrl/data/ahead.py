"""Reading ahead of the training thread: what upcoming samples need is loaded in threads, up to a number of bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from mmrl.contracts.types import Sample

Result = TypeVar("Result")
Job = Callable[[], Any]


@dataclass(eq=False, slots=True)
class _Load:
    """A load that has started: `nbytes` is its result's size, None while it is under way, 0 where it failed."""

    nbytes: int | None = None
    future: Future = field(default_factory=Future)


class ReadAhead:
    """Loads what is wanted in threads, in the order in which it is wanted, and holds it until it is taken.

    No load starts that would bring what is held above `max_bytes`: results count with their size, loads under way and
    the new one with that of the largest result so far; until there is one, one load runs at a time. A single result
    may be larger than `max_bytes`: where nothing else is held, one load always may run. Nobody waits for room: what
    has not started when it is taken is loaded by the taker, and what is taken makes room.

    `want`, `take` and `close` belong to one thread, the training thread.

    Args:
        max_bytes: of results that wait to be taken.
        threads: loads at once; none is started before something is wanted.
    """

    def __init__(self, max_bytes: int, threads: int = 2):
        if max_bytes < 1 or threads < 1:
            raise ValueError(f"max_bytes is {max_bytes} and threads is {threads}; both must be at least 1")
        self.max_bytes, self.threads = max_bytes, threads
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, Job] = {}
        self._loads: dict[Hashable, _Load] = {}
        self._running = self._largest = 0
        self._closed = False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")

    @property
    def held(self) -> int:
        """Bytes of the results that wait to be taken."""
        with self._lock:
            return sum(load.nbytes or 0 for load in self._loads.values())

    def want(self, jobs: Mapping[Hashable, Job]) -> None:
        """Replaces what is wanted, the most urgent first. What is no longer wanted is dropped, its error with it."""
        with self._lock:
            if self._closed:
                return
            self._loads = {key: load for key, load in self._loads.items() if key in jobs}
            self._waiting = {key: job for key, job in jobs.items() if key not in self._loads}
            self._start()

    def take(self, key: Hashable, load: Callable[[], Result]) -> tuple[Result, bool]:
        """What was loaded under the key, or what `load` gives in this thread; and whether it was begun ahead.

        A load under way is waited for.

        Raises:
            Exception: whatever the job, or `load`, raised.
        """
        with self._lock:
            self._waiting.pop(key, None)
            begun = self._loads.pop(key, None)
            self._start()
        return (load(), False) if begun is None else (begun.future.result(), True)

    def close(self) -> None:
        """Waits for the loads under way, ends the threads and drops what is held; later takers load by themselves."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._pool.shutdown(wait=True)
        with self._lock:
            self._loads.clear()

    def _start(self) -> None:
        """Starts what there are threads and room for; the lock is held."""
        while self._waiting and self._running < self.threads and self._has_room():
            key, load = next(iter(self._waiting)), _Load()
            # First: where no thread can be started, nobody may wait for this load.
            self._pool.submit(self._run, load, self._waiting[key])
            self._loads[key] = load
            self._running += 1
            del self._waiting[key]

    def _has_room(self) -> bool:
        if not self._loads:
            return True
        if not self._largest:
            return self._running == 0
        expected = sum(self._largest if load.nbytes is None else load.nbytes for load in self._loads.values())
        return expected + self._largest <= self.max_bytes

    def _run(self, load: _Load, job: Job) -> None:
        result, error = None, None
        try:
            result = job()
        except BaseException as raised:
            error = raised
        try:
            with self._lock:
                load.nbytes = 0 if error is not None else size_of(result)
                self._largest = max(self._largest, load.nbytes)
                self._running -= 1
                self._start()
        finally:
            # Last: whoever waited for the result finds its size counted.
            if error is not None:
                load.future.set_exception(error)
            else:
                load.future.set_result(result)


def size_of(result: Any) -> int:
    """Bytes of pictures in Frames or a Sample, encoded ones at their encoded size; 0 for anything else."""
    if isinstance(result, Sample):
        return sum(map(size_of, (*result.images, *result.videos)))
    if isinstance(result, list | tuple):
        return sum(map(size_of, result))
    if isinstance(result, Image.Image):
        return result.width * result.height * len(result.getbands())
    if isinstance(result, bytes | bytearray):
        return len(result)
    pixels = getattr(result, "pixels", None)
    return 0 if pixels is None else int(pixels.nbytes)


def names_media(sample: Sample) -> bool:
    """Whether it names videos, or pictures in files."""
    return bool(sample.videos) or any(isinstance(image, str | Path) for image in sample.images)
