"""Processes that a launcher has started, and starting them on this machine. Imports no torch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from mmrl.contracts.errors import ConfigError, UserError
from mmrl.recipe.parallel import ParallelConfig

# Seconds that the others have, after one has failed, to say so and to write what they know.
GRACE = 60.0
KILLED_AFTER = 10.0
LOOK_EVERY = 0.05


def launched() -> int:
    """How many processes a launcher (`torchrun`, `accelerate launch`, `mmrl train` itself) has started; 1: none has."""
    size = os.environ.get("WORLD_SIZE", "")
    return int(size) if size.isdigit() and int(size) > 1 else 1


def launched_rank() -> int:
    """This one's number among them, from 0."""
    rank = os.environ.get("RANK", "")
    return int(rank) if launched() > 1 and rank.isdigit() else 0


def size_of(settings: ParallelConfig) -> int:
    """How many processes train together. Raises ConfigError where a launcher has started another number."""
    size = launched()
    if size > 1 and settings.processes not in (None, size):
        raise ConfigError(
            f"parallel.processes is {settings.processes}, and the launcher has started {size}: leave one of them out"
        )
    return settings.processes or size


def refuse_ranks() -> None:
    """Raises UserError in one of several processes that a launcher started: each would do all of the work."""
    if launched() > 1:
        raise UserError(
            f"WORLD_SIZE is {launched()}: only train shares its work among processes, and each of these would do all "
            "of it; start it once, without torchrun or accelerate launch"
        )


def launch(processes: int, command: Sequence[str]) -> int:
    """Runs a command in so many processes on this machine, each with a number of its own, until all have ended.

    SIGINT, SIGTERM and SIGHUP go on to each of them. Where one fails, the others have `GRACE` seconds to end.

    Returns:
        The exit code of the first one that failed, 128 + n where signal n ended it; else 0.
    """
    base = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    # Each would otherwise take all cores.
    base.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    started: list[subprocess.Popen[bytes]] = []

    signals: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        signals.append(signum)

    passed_on = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        # Under nohup it is ignored, which the processes inherit.
        passed_on.append(signal.SIGHUP)
    before = {signum: signal.signal(signum, note) for signum in passed_on}
    try:
        for rank in range(processes):
            env = {**base, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            # In sessions of their own: a terminal's signal reaches each of them once, from here.
            started.append(subprocess.Popen(command, env=env, start_new_session=True))
        return _wait(started, signals)
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _wait(processes: Sequence[subprocess.Popen[bytes]], signals: list[int]) -> int:
    """The exit code; what arrives in `signals` goes on to each process."""
    failed: tuple[int, int] | None = None
    deadline = float("inf")
    asked: set[int] = set()
    while any(process.poll() is None for process in processes):
        while signals:
            signum = signals.pop(0)
            for process in processes:
                process.send_signal(signum)
        if failed is None and (failed := _first_failure(processes)) is not None:
            deadline = time.monotonic() + GRACE
        late = time.monotonic() - deadline
        for rank, process in enumerate(processes):
            if late > KILLED_AFTER:
                process.kill()
            elif late > 0 and rank not in asked:
                asked.add(rank)
                process.terminate()
        time.sleep(LOOK_EVERY)
    rank, code = failed or _first_failure(processes) or (0, 0)
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    print(f"mmrl: process {rank} of {len(processes)} was ended by {name}", file=sys.stderr, flush=True)
    return 128 - code


def _first_failure(processes: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int] | None:
    """Number and exit code of a process that has failed, one that a signal ended before others."""
    codes = [(rank, process.returncode) for rank, process in enumerate(processes) if process.poll() not in (None, 0)]
    return min(codes, key=lambda each: (each[1] >= 0, each[0]), default=None)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
