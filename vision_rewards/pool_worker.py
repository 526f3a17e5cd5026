"""The far end of `vision_rewards.pool`: a process that answers one request at a time."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from vision_rewards.pool import resolve

MEGABYTE = 2**20
RETIRE_MEGABYTES = 300  # growth between calls after which a worker is replaced


def serve(descriptor: int, parent: int) -> None:
    """Answer requests until the other end closes.

    Args:
        descriptor: an inherited duplex connection.
        parent: process id; the worker ends when it is no longer its child.
    """
    # Ctrl-C reaches the whole group; what to do about it is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    link = Connection(descriptor)
    loaded: dict[str, Any] = {}
    size = 0
    while True:
        try:
            verb, name, *rest = pickle.loads(link.recv_bytes())
        except (EOFError, OSError):
            # Not sys.exit: nothing here is worth a slow shutdown.
            os._exit(0)
        if verb == "load":
            state, payload = _attempt(lambda name=name: loaded.__setitem__(name, resolve(name)))
            size, retire = _address_space(), False
        else:
            args, seconds, megabytes = rest
            _limit(seconds, megabytes)
            state, payload = _attempt(lambda function=loaded[name], args=args: function(*args))
            _unlimit()
            retire = state in ("memory", "crash") or _address_space() - size > RETIRE_MEGABYTES * MEGABYTE
        link.send_bytes(pickle.dumps((state, payload, retire, time.process_time()), pickle.HIGHEST_PROTOCOL))


def _attempt(work: Callable[[], Any]) -> tuple[str, bytes]:
    """(state, pickled value): "ok", "error" with the exception, "memory" or "crash" with a text."""
    try:
        return "ok", pickle.dumps(work(), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return "memory", pickle.dumps("the call asked for more memory than it may have")
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        return "crash", pickle.dumps(f"the call raised {type(error).__name__}")
    except BaseException as error:
        # Some libraries' timeouts derive from BaseException; they too are the caller's to handle.
        return "error", _pickled(error)


def _pickled(error: BaseException) -> bytes:
    """The exception with its traceback as a note; a RuntimeError of the same text where it cannot travel."""
    error.add_note("In a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        payload = pickle.dumps(error)
        pickle.loads(payload)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return payload


def _limit(seconds: float, megabytes: float) -> None:
    # The parent keeps the time. This stops what outlives the parent while it holds the interpreter's lock.
    _soft_limit(resource.RLIMIT_CPU, int(time.process_time() + seconds) + 2)
    if sys.platform == "linux":
        _soft_limit(resource.RLIMIT_AS, _address_space() + int(megabytes * MEGABYTE))


def _unlimit() -> None:
    _soft_limit(resource.RLIMIT_CPU, None)
    _soft_limit(resource.RLIMIT_AS, None)


def _soft_limit(kind: int, value: int | None) -> None:
    _, hard = resource.getrlimit(kind)
    if value is None or (hard != resource.RLIM_INFINITY and value > hard):
        value = hard
    resource.setrlimit(kind, (value, hard))


def _address_space() -> int:
    """Bytes of address space in use, 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)
