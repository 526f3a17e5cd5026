"""Child processes by fork, for tests that kill them. A child runs one function and never returns to pytest."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable


def spawn(work: Callable[[], object]) -> int:
    """Forks; the child runs `work` and exits with 0, or with 1 and a traceback. Returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def join(child: int) -> int:
    """Waits for a child: its exit code, or minus the signal that killed it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def die() -> None:
    """Ends this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)
