"""A simulator of one world that fails on request, for tests of worker processes."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

from robotics.registry import make
from robotics.tabletop import TabletopEnv

CRASH, HANG, RAISE = 101, 102, 103


class FaultyWorld(TabletopEnv):
    """A tabletop that fails in the way its id names, at chunk `at` of the episode; 0 is the reset."""

    at = 2

    def reset(self, ids, worlds=None):
        self.fault, self.chunks = int(ids[0]), 0
        self._fail()
        return super().reset(ids, worlds)

    def unseen_step(self, actions):
        self.chunks += 1
        self._fail()
        return super().unseen_step(actions)

    def _fail(self):
        if self.chunks != self.at:
            return
        if self.fault == CRASH:
            os._exit(7)
        if self.fault == HANG:
            threading.Event().wait()
        if self.fault == RAISE:
            raise ArithmeticError("the physics\nexploded")


def faulty_world(at: int = 2) -> FaultyWorld:
    """One such world."""
    env = FaultyWorld(**TabletopEnv.SETTINGS.read("tabletop", {"num_envs": 1}))
    env.at = at
    return env


def one_tabletop(**options: Any) -> TabletopEnv:
    """A tabletop of one world."""
    return make({"type": "tabletop", "num_envs": 1, **options})


def broken_world(error: type[BaseException]) -> TabletopEnv:
    """A world that cannot be made."""
    raise error("no\nsuch assets")


def dies_while_starting(folder: str, times: int) -> TabletopEnv:
    """A world whose process dies the first `times` it is made; `folder` counts."""
    tries = len(os.listdir(folder))
    Path(folder, str(tries)).touch()
    if tries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return one_tabletop()
