"""Reading ahead of the training thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Prefetcher(Generic[Item, Result]):
    """Iterates over `load(item)` in the order of `items`, loading the next ones in threads.

        with Prefetcher(lambda path: cache.get(path, spec), paths, ahead=8) as videos:
            for frames in videos: ...

    An error that `load`, or the drawing of an item, raises is raised by `next` in that item's place; the call after it
    goes on with the next item. Items are drawn in the caller's thread, inside `next`, at most `ahead` before they are
    handed out. Threads suit decoding, hashing and file reads, which release the interpreter.

    Args:
        load: called in threads, on several items at once; must be safe for that.
        items: may be endless.
        threads: loads at once.
        ahead: items drawn and not yet handed out, at most.
        max_bytes: no load is started that would bring the results that wait to more than this, those under way and the
            new one counted at the size of the largest so far. Until one size is known, `threads` are started. One load
            always may run. None: no limit but `ahead`.
        nbytes: size of a result; None: bytes of `pixels` in Frames, lists and tuples of them.
    """

    def __init__(
        self,
        load: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        threads: int = 2,
        ahead: int = 8,
        max_bytes: int | None = None,
        nbytes: Callable[[Result], int] | None = None,
    ):
        if threads < 1 or ahead < 1:
            raise ValueError(f"threads is {threads} and ahead is {ahead}; both must be at least 1")
        self._load = load
        self._items = iter(items)
        self._threads = threads
        self._ahead = ahead
        self._max_bytes = max_bytes
        self._nbytes = nbytes or frame_bytes
        self._largest = 0
        self._drawn_out = False
        self._closed = False
        self._pending: deque[Future[Result]] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")

    def __enter__(self) -> Prefetcher[Item, Result]:
        self._draw()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        """The next item's result.

        Raises:
            StopIteration: no items are left.
            RuntimeError: the prefetcher is closed.
            Exception: whatever `load` raised for this item.
        """
        if self._closed:
            raise RuntimeError("the prefetcher is closed; make a new one")
        self._draw()
        if not self._pending:
            raise StopIteration
        # Taken out only once it is there: an interrupted wait loses no item.
        wait([self._pending[0]])
        future = self._pending.popleft()
        if future.exception() is None:
            self._largest = max(self._largest, self._nbytes(future.result()))
        self._draw()
        return future.result()

    def close(self) -> None:
        """Drops what has not started, waits for what has, and ends the threads. Closing twice does nothing."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def _draw(self) -> None:
        while not self._drawn_out and len(self._pending) < self._ahead and (not self._pending or self._has_room()):
            try:
                item = next(self._items)
            except StopIteration:
                self._drawn_out = True
            except Exception as error:
                failed: Future[Result] = Future()
                failed.set_exception(error)
                self._pending.append(failed)
            else:
                self._pending.append(self._pool.submit(self._load, item))

    def _has_room(self) -> bool:
        if self._max_bytes is None:
            return True
        nbytes = 0
        for future in self._pending:
            if not future.done():
                nbytes += self._largest
            elif future.exception() is None:
                size = self._nbytes(future.result())
                self._largest = max(self._largest, size)
                nbytes += size
        if self._largest == 0:
            return len(self._pending) < self._threads
        return nbytes + self._largest <= self._max_bytes


def frame_bytes(result: Any) -> int:
    """Bytes of pixels in Frames, or in lists, tuples and values of mappings that hold them; 0 for anything else."""
    if isinstance(result, list | tuple):
        return sum(map(frame_bytes, result))
    if isinstance(result, dict):
        return sum(map(frame_bytes, result.values()))
    pixels = getattr(result, "pixels", None)
    return 0 if pixels is None else pixels.nbytes
