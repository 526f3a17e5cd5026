"""One worker process: how it is started, spoken to and ended, and what runs inside it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robotics.base import VectorEnv
from robotics.episodes import EpisodeTracker
from robotics.types import Observation, StepResult

FACTS = ("action_dim", "state_dim", "cameras", "max_steps", "action_low", "action_high", "has_expert")
END_SECONDS = 5.0
INFO = EpisodeTracker(1, 1).info()
_KINDS = {"ValueError": ValueError, "ImportError": ImportError}


@dataclass(frozen=True)
class Failure:
    """Why a worker gave no result. kind: the exception's class name; text: one line that follows the worker's name."""

    kind: str
    text: str

    def error(self, where: str) -> Exception:
        """The exception to raise in the calling process; `where` opens its message."""
        return _KINDS.get(self.kind, RuntimeError)(where + self.text)


class Worker:
    """A process that holds a simulator of one world.

    Pipes carry arrays by value: a picture of 256 x 256 takes 0.1 ms, which is little beside any simulator's step, and a
    killed worker leaves nothing behind, as shared memory would.
    """

    def __init__(self, name: str, make_world: Callable[[], VectorEnv]):
        self.name, self._make_world = name, make_world
        self._start()

    def _start(self) -> None:
        # Forked children would inherit threads, locks and the graphics context of this process.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.ready = False
        self._process = context.Process(target=_main, args=(theirs, self._make_world), name=self.name, daemon=True)
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
            self.pipe.send(_pack(command))
        except OSError:
            return

    def receive(self) -> Any:
        """The waiting reply, or a `Failure` where the process died or its simulator raised."""
        try:
            reply = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(END_SECONDS)
            return Failure("ChildProcessError", f"died (exit code {self._process.exitcode})")
        return reply if isinstance(reply, Failure) else _unpack(reply)

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _main(pipe: Connection, make_world: Callable[[], VectorEnv]) -> None:
    # An interrupt at the terminal reaches every process of the group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Many workers share the cores; each simulates on one.
    torch.set_num_threads(1)
    try:
        env = make_world()
        pipe.send({name: getattr(env, name) for name in FACTS})
    except BaseException as error:
        pipe.send(_failure(error))
        return
    while True:
        try:
            call, arguments = _unpack(pipe.recv())
        except EOFError:
            return
        if call == "close":
            env.close()
            # Graphics libraries take seconds to unload, and some crash at it.
            os._exit(0)
        try:
            pipe.send(_pack(getattr(env, call)(*arguments)))
        except Exception as error:
            pipe.send(_failure(error))


def _failure(error: BaseException) -> Failure:
    text = " ".join(str(error).split()) or type(error).__name__
    kind = next((name for name, known in _KINDS.items() if isinstance(error, known)), type(error).__name__)
    return Failure(kind, text if kind in _KINDS else f"raised {type(error).__name__}: {text}")


def _pack(value: Any) -> Any:
    """Tensors as arrays: torch's own pickling would pass file descriptors that die with the worker."""
    return _map(value, Tensor, lambda tensor: tensor.detach().cpu().numpy())


def _unpack(value: Any) -> Any:
    return _map(value, np.ndarray, torch.from_numpy)


def _map(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: _map(item, kind, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_map(item, kind, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _map(getattr(value, f.name), kind, change) for f in fields(value)})
    return value


def join_observations(parts: Sequence[Observation | None]) -> Observation:
    """One observation of B worlds from observations of one; black, zero and wordless where there is none."""
    some = next(part for part in parts if part is not None)
    blank = Observation(
        images={camera: torch.zeros_like(image) for camera, image in some.images.items()},
        state=torch.zeros_like(some.state),
        instruction=[""],
    )
    every = [blank if part is None else part for part in parts]
    return Observation(
        images={camera: torch.cat([part.images[camera] for part in every]) for camera in some.images},
        state=torch.cat([part.state for part in every]),
        instruction=[text for part in every for text in part.instruction],
    )


def join_steps(
    steps: Sequence[StepResult | None], seen: Sequence[Observation | None], dropped_B: Tensor, chunk: int
) -> StepResult:
    """One result of B worlds from results of one. A world without one has no valid step and is done."""
    pattern = next((step.info for step in steps if step is not None), INFO)
    info = {name: torch.zeros_like(value) for name, value in pattern.items()} | {"done": torch.tensor([True])}
    zeros, no = torch.zeros(1, chunk), torch.zeros(1, chunk, dtype=torch.bool)
    blank = StepResult(join_observations(seen), reward=zeros, terminated=no, truncated=no, valid=no, info=info)
    every = [blank if step is None else step for step in steps]
    masks = ("reward", "terminated", "truncated", "valid")
    return StepResult(
        observation=blank.observation,
        info={name: torch.cat([step.info[name] for step in every]) for name in pattern} | {"dropped": dropped_B},
        **{name: torch.cat([getattr(step, name) for step in every]) for name in masks},
    )
