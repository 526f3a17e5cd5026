"""What the trials of `benchmarks.chaos` stand on: a tiny model, whole runs to compare with, commands in children."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

import tests.support.warm  # noqa: F401 - what a run imports late
from mmrl.cli import main as mmrl
from mmrl.policies.tiny import write_tiny
from mmrl.run import train
from tests.support.runs import assert_same_run, recipe

# 128 + n: a signal stopped training, with a checkpoint; minus n: it ended a command that keeps nothing.
DOCUMENTED = {0, 2, 130, 141, *(128 + n for n in (1, 2, 15))}
LEAST_BOUND = 60.0
# A command past its bound that has a processor for this share of the time is slow, for others load the machine; one
# that outlives the bound so many times hangs all the same.
IDLE_SHARE, BUSY = 0.02, 5.0


class Skipped(Exception):
    """A trial that cannot be made on this machine."""


@dataclass(frozen=True)
class Done:
    """A command's end. `code` is None where it outlived its bound, minus n where signal n ended it."""

    argv: str
    code: int | None
    text: str
    seconds: float

    def wrong(self, *allowed: int) -> Iterator[str]:
        """What is wrong with it: a hang, a traceback, an exit code that is not documented or allowed, many lines."""
        if self.code is None:
            yield f"`{self.argv}` hangs: {self.text[-300:]!r}"
        elif "Traceback (most recent call last)" in self.text:
            yield f"`{self.argv}` ends in a traceback: {self.text[-600:]!r}"
        elif self.code not in (allowed or DOCUMENTED):
            yield f"`{self.argv}` exits with {self.code}: {self.text[-300:]!r}"
        elif self.code == 2 and not re.search(r"^mmrl: error: .|broken|bad", self.text, re.M):
            yield f"`{self.argv}` says not why: {self.text[-300:]!r}"


class Child:
    """A function in a forked process of a session of its own, whose output goes to a file."""

    def __init__(self, work: Callable[[], int], folder: Path, name: str):
        self.name, self.log, self.began = name, folder / f"log_{time.monotonic_ns()}", time.monotonic()
        self.log.touch()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.setsid()
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                with self.log.open("w") as file:
                    os.dup2(file.fileno(), 1)
                    os.dup2(file.fileno(), 2)
                # A test's capture may stand in their place.
                sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
                os.chdir(folder)
                code = work()
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)

    def family(self) -> list[psutil.Process]:
        """Its processes that still run, itself not among them."""
        mine = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.pid != process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    mine.append(process)
            except (psutil.Error, ProcessLookupError):
                continue
        return mine

    def computed(self) -> float:
        """Processor seconds of it and its processes so far."""
        seconds = 0.0
        for process in (psutil.Process(self.pid), *self.family()):
            with suppress(psutil.Error):
                times = process.cpu_times()
                seconds += times.user + times.system
        return seconds

    def send(self, number: int, after: float) -> None:
        """Sends it a signal after so many seconds, if it still runs."""
        time.sleep(max(0.0, self.began + after - time.monotonic()))
        os.kill(self.pid, number)

    def end(self, bound: float, look: float = 5.0) -> Done:
        """Waits for it; kills it at its bound, or at `BUSY` times as much where it still computes then.

        Args:
            look: seconds between two looks at what it computes, once it is past its bound.
        """
        code: int | None = None
        next_look, computed = self.began + bound, -1.0
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                break
            now = time.monotonic()
            if now > next_look:
                before, computed = computed, self.computed()
                if computed - before < IDLE_SHARE * look or now - self.began > BUSY * bound:
                    # It may not have come to a session of its own yet.
                    with suppress(ProcessLookupError):
                        os.killpg(self.pid, signal.SIGKILL)
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    break
                next_look = now + look
            time.sleep(0.01)
        return Done(self.name, code, self.log.read_text(errors="replace"), time.monotonic() - self.began)

    def orphans(self, patience: float = 30.0) -> Iterator[str]:
        """Processes of its own that outlive it."""
        deadline = time.monotonic() + patience
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in left:
            yield f"`{self.name}` leaves process {process.pid} behind: {' '.join(process.cmdline())[:200]}"
            process.kill()


class Ground:
    """Made once for all trials."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        self.folder, self.model, self.whole = folder, folder / "model", folder / "runs" / "run"

        def work() -> int:
            write_tiny("qwen2_5_vl", self.model, seed=0)
            train(self.recipe(folder / "runs"))
            return 0

        # In a child too: one that is forked when torch's threads have run here may not start any of its own.
        done = Child(work, folder, "the run without faults").end(600.0)
        if done.code != 0:
            raise SystemExit(f"the run without faults fails: {done.text[-2000:]}")
        self.seconds = done.seconds

    @property
    def bound(self) -> float:
        """Seconds that no command here may take."""
        return max(LEAST_BOUND, 20 * self.seconds)

    def recipe(self, output: Path, **changes: Any) -> dict[str, Any]:
        """Three steps with a checkpoint of each, of the run `run`."""
        settings = {
            "steps": 3,
            "checkpoint": {"every": 1},
            "evaluation": {"every": 2, "sampling": {"temperature": 0.0, "max_new_tokens": 4}},
            "optim": {"lr": 3e-3, "schedule": "cosine", "warmup": 1},
        }
        return recipe(self.model, output, "run", **{**settings, **changes})

    def written(self, folder: Path, **changes: Any) -> Path:
        """That recipe as a file there; its run is `folder / runs / run`."""
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(self.recipe(folder / "runs", **changes)))
        return path

    def start(self, folder: Path, *argv: str) -> Child:
        """An mmrl command, begun in `folder`."""
        return Child(lambda: mmrl(list(argv)), folder, " ".join(("mmrl", *argv)))

    def command(self, folder: Path, *argv: str) -> Done:
        """An mmrl command, to its end."""
        return self.start(folder, *argv).end(self.bound)

    def compare(self, run: Path) -> Iterator[str]:
        """How a finished run differs from the whole one, and what it left behind."""
        try:
            assert_same_run(self.whole, run)
        except (AssertionError, OSError, ValueError) as error:
            yield f"the run is not the one without faults: {type(error).__name__} {str(error)[:300]}"
        yield from leftovers(run)


def leftovers(folder: Path) -> Iterator[str]:
    """Files that are only there while a process writes."""
    for path in folder.rglob("*"):
        name = path.name
        if name.startswith(".") or name.endswith((".tmp", ".part", ".lock")):
            yield f"left behind: {path.relative_to(folder)}"


def finish(ground: Ground, folder: Path, recipe_file: Path, *overrides: str) -> Iterator[str]:
    """Resumes a run to its end and compares it."""
    done = ground.command(folder, "train", str(recipe_file), "resume=auto", *overrides)
    yield from done.wrong(0)
    if done.code == 0:
        yield from ground.compare(folder / "runs" / "run")
