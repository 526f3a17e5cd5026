"""What the tests of the pool have done in a worker; a module of its own, so that workers load nothing else."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

KEPT = []


class Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__(first)


class Stop(BaseException):
    pass


def identify(*args):
    return os.getpid(), args


def spin():
    while True:
        pass


def sleep_forever():
    time.sleep(3600)


def grow(megabytes):
    return len([bytes(10**6) for _ in range(megabytes)])


def keep(megabytes):
    KEPT.append(bytes(megabytes * 10**6))


def fail(kind):
    raise kind("why", "second") if kind is Unpicklable else kind("why")


def die(number):
    os.kill(os.getpid(), number)


def die_once(marker):
    if not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def die_times(folder, times):
    tries = len(os.listdir(folder))
    Path(folder, str(tries)).touch()
    if tries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def settings():
    return os.environ["OMP_NUM_THREADS"], hash("text"), "__main__" in sys.modules and sys.modules["__main__"].__doc__


def unpicklable():
    return lambda: None


def limits():
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE)
