"""One worker process: how it is started, spoken to and ended, and what runs inside it."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from robotics.base import SimulatorError, VectorEnv
from robotics.episodes import EpisodeTracker
from robotics.types import Observation, StepResult

FACTS = ("action_dim", "state_dim", "cameras", "max_steps", "action_low", "action_high", "has_expert")
END_SECONDS = 5.0
_starting = threading.Lock()
INFO = EpisodeTracker(1, 1).info()
_KINDS = {"ValueError": ValueError, "ImportError": ImportError}
# With failures of the process itself, whatever its simulator was doing.
_ERRORS = {**_KINDS, "ChildProcessError": SimulatorError, "TimeoutError": SimulatorError}


@dataclass(frozen=True)
class Failure:
    """Why a worker gave no result. kind: the exception's class name; text: one line that follows the worker's name."""

    kind: str
    text: str

    def error(self, where: str) -> Exception:
        """The exception to raise in the calling process; `where` opens its message."""
        return _ERRORS.get(self.kind, RuntimeError)(where + self.text)


class Worker:
    """A process that holds a simulator of one world.

    Pipes carry arrays by value: a picture of 256 x 256 takes 0.1 ms, which is little beside any simulator's step, and a
    killed worker leaves nothing behind, as shared memory would.
    """

    def __init__(self, name: str, make_world: Callable[[], VectorEnv], preload: Sequence[str] = ()):
        self.name, self._make_world, self._preload = name, make_world, preload
        self._start()

    def _start(self) -> None:
        # Children forked from here would inherit threads, locks and the graphics context. Those of a server that holds
        # nothing but imported modules start in milliseconds, and share its memory.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *self._preload])
        self.pipe, theirs = context.Pipe()
        self.ready = False
        # Finders that put themselves in place where they are unpickled, which must come before the simulator's class.
        finders = [each for each in sys.meta_path if getattr(each, "for_children", False)]
        work = (finders, theirs, self._make_world, dict(os.environ))
        _start_server()
        self._process = context.Process(target=_main, args=work, name=self.name, daemon=True)
        self._process.start()
        # Only the worker holds its end now, so its death closes the pipe.
        theirs.close()

    def restart(self) -> None:
        """Kill the process and start another."""
        self._end()
        self._start()

    def stop(self, deadline: float) -> None:
        """Give the process, which was sent `close`, until `deadline` (monotonic seconds), then kill it."""
        self._process.join(max(deadline - time.monotonic(), 0.0))
        self._end()

    def send(self, command: tuple[str, tuple]) -> None:
        """Send a method's name and arguments. A dead worker shows at the next `receive`."""
        try:
            _send(self.pipe, command)
        except OSError:
            return

    def receive(self) -> Any:
        """The waiting reply, or a `Failure` where the process died or its simulator raised."""
        try:
            return _receive(self.pipe)
        except (EOFError, OSError):
            self._process.join(END_SECONDS)
            return Failure("ChildProcessError", f"died (exit code {self._process.exitcode})")

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _start_server() -> None:
    """Start the processes that multiprocessing needs, which import from where this one does.

    By themselves they would take a file such as `random.py` of the working folder for Python's own.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    ours = {"PYTHONSAFEPATH": "1", "PYTHONPATH": path}
    with _starting:
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            forkserver.ensure_running()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _main(
    finders: list[Any], pipe: Connection, make_world: Callable[[], VectorEnv], environment: dict[str, str]
) -> None:
    # The server's own are those of its start.
    os.environ.clear()
    os.environ.update(environment)
    # An interrupt at the terminal reaches every process of the group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Many workers share the cores; each simulates on one.
    torch.set_num_threads(1)
    try:
        env = make_world()
        _send(pipe, {name: getattr(env, name) for name in FACTS})
    except BaseException as error:
        _send(pipe, _failure(error))
        return
    while True:
        try:
            call, arguments = _receive(pipe)
        except EOFError:
            # The parent is gone, or has dropped this worker.
            call = "close"
        if call == "close":
            env.close()
            # Graphics libraries take seconds to unload, and some crash or complain at it.
            os._exit(0)
        try:
            _send(pipe, getattr(env, call)(*arguments))
        except Exception as error:
            _send(pipe, _failure(error))


def _failure(error: BaseException) -> Failure:
    text = " ".join(str(error).split()) or type(error).__name__
    kind = next((name for name, known in _KINDS.items() if isinstance(error, known)), type(error).__name__)
    return Failure(kind, text if kind in _KINDS else f"raised {type(error).__name__}: {text}")


class _Pickler(pickle.Pickler):
    """Writes tensors as arrays: torch's own pickling would pass file descriptors that die with the worker."""

    dispatch_table: ClassVar[dict[type, Callable]] = {
        Tensor: lambda tensor: (_tensor, (tensor.detach().cpu().numpy(),)),
    }


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)


def _send(pipe: Connection, value: Any) -> None:
    written = io.BytesIO()
    _Pickler(written, pickle.HIGHEST_PROTOCOL).dump(value)
    pipe.send_bytes(written.getbuffer())


def _receive(pipe: Connection) -> Any:
    return pickle.loads(pipe.recv_bytes())


def join_observations(parts: Sequence[Observation | None]) -> Observation:
    """One observation of B worlds from observations of one; black, zero and wordless where there is none."""
    if None in parts:
        some = next(part for part in parts if part is not None)
        images = {camera: torch.zeros_like(image) for camera, image in some.images.items()}
        blank = Observation(images, torch.zeros_like(some.state), instruction=[""])
        parts = [part or blank for part in parts]
    return Observation(
        images={camera: _join([part.images[camera] for part in parts]) for camera in parts[0].images},
        state=_join([part.state for part in parts]),
        instruction=[text for part in parts for text in part.instruction],
    )


def join_steps(steps: Sequence[StepResult | None], dropped_B: Tensor, chunk: int) -> StepResult:
    """One result of B worlds, without what they show, from results of one.

    A world without a result has no valid step and is done.
    """
    if None in steps:
        pattern = next((step.info for step in steps if step is not None), INFO)
        info = {name: torch.zeros_like(value) for name, value in pattern.items()} | {"done": torch.tensor([True])}
        zeros, no = torch.zeros(1, chunk), torch.zeros(1, chunk, dtype=torch.bool)
        blank = StepResult(None, reward=zeros, terminated=no, truncated=no, valid=no, info=info)
        steps = [step or blank for step in steps]
    masks = ("reward", "terminated", "truncated", "valid")
    return StepResult(
        observation=None,
        info={name: _join([step.info[name] for step in steps]) for name in steps[0].info} | {"dropped": dropped_B},
        **{name: _join([getattr(step, name) for step in steps]) for name in masks},
    )


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
