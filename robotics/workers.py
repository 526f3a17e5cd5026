"""Simulators that allow one world per process, side by side: one worker process per world behind the contract.

A worker that crashes, hangs or raises is replaced. The episode it was in is dropped: no step of the failed chunk
counts, `info["done"]` and `info["dropped"]` are True until the world's next reset, and `dropped_episodes` grows by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any, ClassVar

import torch
from torch import Tensor

from robotics.arguments import as_actions, as_ids, as_worlds
from robotics.base import SimulatorError, VectorEnv
from robotics.types import Observation, StepResult
from robotics.worker_process import END_SECONDS, Failure, Worker, join_observations, join_steps

START_SECONDS = 600.0
# A world that fails this often, and finishes no episode in between, has a cause that another process does not cure.
MAX_FAILURES = 3

_log = logging.getLogger(__name__)


class WorkerEnv(VectorEnv):
    """`num_envs` worlds, each a simulator of one world in a process of its own.

    what: the simulator's name, for messages. make_world: picklable, called once in each worker; gives a VectorEnv of
    one world. timeout: seconds that a worker may take for one call before it counts as hung. preload: modules that all
    workers need, imported once instead of in each; the first object of a process that has workers decides.

    The processes import the main script, so a script that builds this needs the `if __name__ == "__main__"` guard.
    Calls of one object must not overlap; two objects may be driven from two threads.

    Raises what `make_world` raises in a worker: ValueError and ImportError as such, others as RuntimeError. A worker
    that keeps failing or dying, or hangs while it starts, is a SimulatorError.
    """

    concurrent: ClassVar[bool] = True

    def __init__(
        self,
        what: str,
        make_world: Callable[[], VectorEnv],
        num_envs: int,
        timeout: float,
        preload: Sequence[str] = (),
    ):
        self.what, self.num_envs, self.timeout = what, num_envs, timeout
        self._workers = [Worker(f"{what} worker {index}", make_world, preload) for index in range(num_envs)]
        self._failures = [0] * num_envs
        self._seen: list[Observation | None] = [None] * num_envs
        # Worlds in which no episode was started yet, those whose episode was dropped, and those that moved unseen.
        self._idle, self._dropped, self._unseen = set(range(num_envs)), set[int](), set[int]()
        try:
            facts = self._ready(range(num_envs))[0]
        except BaseException:
            self.close()
            raise
        for name, value in facts.items():
            setattr(self, name, value)

    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """See `VectorEnv.reset`. A worker that fails here is replaced and asked again, `MAX_FAILURES` times at most."""
        chosen = as_worlds(worlds, self.num_envs)
        ids_W = as_ids(ids, len(chosen))
        pending = dict(zip(chosen.tolist(), ids_W.tolist()))
        while pending:
            self._ready(pending)
            replies = self._call({world: ("reset", ([id],)) for world, id in pending.items()}, self.timeout)
            for world, reply in replies.items():
                if isinstance(reply, Failure):
                    self._replace(world, reply, fatal=reply.kind in ("ValueError", "ImportError"))
                else:
                    self._seen[world] = reply
                    del pending[world]
        for kind in (self._dropped, self._idle, self._unseen):
            kind.difference_update(chosen.tolist())
        return self.observe()

    def chunk_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.chunk_step`. Worlds whose episode was dropped stay as they are until their next reset."""
        result = self._step("chunk_step", actions)
        return replace(result, observation=join_observations(self._seen))

    def unseen_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.unseen_step`."""
        return self._step("unseen_step", actions)

    def observe(self) -> Observation:
        """See `VectorEnv.observe`. Worlds whose episode was dropped show what was seen of it last."""
        if len(self._idle) == self.num_envs:
            raise RuntimeError(f"{self.what}: reset(ids) comes first")
        replies = self._call(dict.fromkeys(self._playing(sorted(self._unseen)), ("observe", ())), self.timeout)
        for world, reply in replies.items():
            if isinstance(reply, Failure):
                self._drop(world, reply)
            else:
                self._seen[world] = reply
        self._unseen.clear()
        return join_observations(self._seen)

    def _step(self, call: str, actions: Tensor) -> StepResult:
        if len(self._idle) == self.num_envs:
            raise RuntimeError(f"{self.what}: reset(ids) comes first")
        actions_BCA = as_actions(
            self.what, actions, self.num_envs, self.action_dim, self.action_low, self.action_high
        ).cpu()
        playing = self._playing(range(self.num_envs))
        commands = {world: (call, (actions_BCA[world : world + 1],)) for world in playing}
        replies = self._call(commands, self.timeout)
        for world, reply in list(replies.items()):
            if isinstance(reply, Failure):
                self._drop(world, replies.pop(world))
                continue
            if reply.observation is None:
                self._unseen.add(world)
            else:
                self._seen[world] = reply.observation
                self._unseen.discard(world)
            if reply.info["done"].all():
                self._failures[world] = 0
        steps = [replies.get(world) for world in range(self.num_envs)]
        dropped_B = torch.tensor([world in self._dropped for world in range(self.num_envs)])
        return join_steps(steps, dropped_B, actions_BCA.shape[1])

    def expert_action(self) -> Tensor:
        """See `VectorEnv.expert_action`. Zeros for worlds without an episode."""
        if not self.has_expert:
            return super().expert_action()
        return self._gather("expert_action", range(self.num_envs), torch.zeros(1, self.action_dim))

    def render(self, worlds: Tensor | Sequence[int] | None = None) -> Tensor:
        """See `VectorEnv.render`. Black for worlds without an episode."""
        if len(self._idle) == self.num_envs:
            raise RuntimeError(f"{self.what}: reset(ids) comes first")
        return self._gather("render", as_worlds(worlds, self.num_envs).tolist(), None)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.send(("close", ()))
        deadline = time.monotonic() + END_SECONDS
        for worker in self._workers:
            worker.stop(deadline)

    def _gather(self, call: str, worlds: Sequence[int], blank: Tensor | None) -> Tensor:
        playing = self._playing(worlds)
        replies = self._call(dict.fromkeys(playing, (call, ())), self.timeout)
        for world in playing:
            if isinstance(replies[world], Failure):
                self._drop(world, replies.pop(world))
        if blank is None:
            blank = torch.zeros_like(next(iter(replies.values()))) if replies else torch.zeros(1, 1, 1, 3).byte()
        return torch.cat([replies.get(world, blank) for world in worlds])

    def _playing(self, worlds: Sequence[int]) -> list[int]:
        return [world for world in worlds if world not in self._idle and world not in self._dropped]

    def _drop(self, world: int, failure: Failure) -> None:
        self._replace(world, failure)
        self._dropped.add(world)
        self.dropped_episodes += 1

    def _replace(self, world: int, failure: Failure, fatal: bool = False) -> None:
        worker = self._workers[world]
        self._failures[world] += 1
        if fatal or self._failures[world] >= MAX_FAILURES:
            self.close()
            if fatal:
                raise failure.error("")
            raise SimulatorError(f"{worker.name}, {self._failures[world]} failures in a row: {failure.text}")
        _log.warning("%s: %s; the worker is replaced", worker.name, failure.text)
        worker.restart()

    def _ready(self, worlds: Sequence[int] | Mapping[int, Any]) -> list[dict[str, Any]]:
        """Wait for the hello of workers that were just started; their facts.

        A worker that dies before it is started again, `MAX_FAILURES` times at most.
        """
        waiting = [world for world in worlds if not self._workers[world].ready]
        facts: dict[int, dict[str, Any]] = {}
        while waiting:
            replies = self._receive(waiting, START_SECONDS, f"did not start within {START_SECONDS:g} s")
            for world, reply in replies.items():
                if not isinstance(reply, Failure):
                    self._workers[world].ready, facts[world] = True, reply
                elif reply.kind == "ChildProcessError":
                    # Such as by a kernel short of memory. What its simulator raises, it would raise again.
                    self._replace(world, reply)
                else:
                    raise reply.error("")
            waiting = [world for world in waiting if world not in facts]
        return list(facts.values())

    def _call(self, commands: Mapping[int, tuple[str, tuple]], seconds: float) -> dict[int, Any]:
        """Send each world its command and collect the replies, a `Failure` where none came."""
        for world, command in commands.items():
            self._workers[world].send(command)
        return self._receive(list(commands), seconds, f"did not answer within {seconds:g} s; raise timeout")

    def _receive(self, worlds: Sequence[int], seconds: float, late: str) -> dict[int, Any]:
        deadline = time.monotonic() + seconds
        replies: dict[int, Any] = {}
        while missing := {self._workers[world].pipe: world for world in worlds if world not in replies}:
            ready = wait(list(missing), timeout=max(deadline - time.monotonic(), 0.0))
            if not ready:
                replies.update(dict.fromkeys(missing.values(), Failure("TimeoutError", late)))
            for pipe in ready:
                replies[missing[pipe]] = self._workers[missing[pipe]].receive()
        return {world: replies[world] for world in worlds}
