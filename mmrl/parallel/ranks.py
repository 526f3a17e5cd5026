"""Several processes that train together, over torch.distributed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mmrl.contracts.errors import UserError, first_line
from mmrl.contracts.world import Job, Result, World
from mmrl.parallel.dealing import deal
from mmrl.parallel.errors import LostProcess, is_shared, packed, share, unpacked

# Gradients travel in pieces of so many bytes: a copy of one is all that they need in memory.
PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Ranks(World):
    """One of several processes.

    Whatever they tell each other carries its place in the program, or an error in its stead. So a process that fails is
    heard of where the others wait next, and one that goes another way is an error and not a deadlock.

    Attributes:
        objects: the group of processes that tell each other things, on the CPU.
        gradients: the group of those that sum gradients, on the policy's device.
    """

    objects: Any = None
    gradients: Any = None

    def exchange(self, what: str, value: Any) -> list[Any]:
        """See `World.exchange`."""
        try:
            data = pickle.dumps(value)
        except Exception as error:
            problem = UserError(f"{what} cannot be told to the other processes: {first_line(error)}")
            self._fail(problem)
            raise problem from error
        told = self._meet((what, data, None))
        return [value if rank == self.rank else pickle.loads(given) for rank, given in enumerate(told)]

    def each(
        self, what: str, jobs: Sequence[Job], do: Callable[[Job], Result], cost: Callable[[Job], float]
    ) -> list[Result]:
        """See `World.each`."""
        own: dict[int, Result] = {}
        try:
            for i, owner in enumerate(deal([cost(job) for job in jobs], self.size)):
                if owner == self.rank:
                    own[i] = do(jobs[i])
        except Exception as error:
            self.fail(error)
            raise
        results: dict[int, Result] = {}
        for part in self.exchange(what, own):
            results |= part
        return [results[i] for i in range(len(jobs))]

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """See `World.sum_gradients`."""
        known = self.exchange("which parameters have gradients", [p.grad is not None for p in parameters])
        touched = [p for p, having in zip(parameters, zip(*known, strict=True), strict=True) if any(having)]
        for parameter in touched:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for piece in _pieces([p.grad for p in touched if p.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in piece])
            self._reached(lambda flat=flat: dist.all_reduce(flat, group=self.gradients))
            for gradient, total in zip(piece, flat.split([g.numel() for g in piece]), strict=True):
                gradient.copy_(total.view_as(gradient))

    def fail(self, error: BaseException) -> None:
        """See `World.fail`."""
        if not is_shared(error):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        try:
            self._meet(("", b"", packed(error)))
        except BaseException as raised:
            # The others raise it now: this one's own error goes on, with its own traceback.
            share(error, speaks=self.writes or isinstance(raised, LostProcess))

    def _meet(self, message: tuple[str, bytes, bytes | None]) -> list[bytes]:
        """What each process says at this place, where all are at the same one and none has failed."""
        messages: list[Any] = [None] * self.size
        self._reached(lambda: dist.all_gather_object(messages, message, group=self.objects))
        failed = [(rank, error) for rank, (_, _, error) in enumerate(messages) if error is not None]
        if failed:
            rank, error = failed[0]
            everywhere = len({error for _, error in failed}) == 1 and len(failed) == self.size
            raise share(unpacked(error, "" if everywhere else f"process {rank}: "), self.writes)
        places = [what for what, _, _ in messages]
        for rank, what in enumerate(places):
            if what != places[0]:
                line = f"processes have gone different ways: process {rank} is at '{what}', process 0 at '{places[0]}'"
                raise share(UserError(line), self.writes)
        return [data for _, data, _ in messages]

    def _reached(self, collective: Callable[[], Any]) -> None:
        try:
            collective()
        except RuntimeError as error:
            # What gloo and nccl raise where a connection is closed, and after `parallel.timeout`.
            line = f"process {self.rank} has lost another one: it was ended, or took too long ({first_line(error)})"
            raise share(LostProcess(line), speaks=True) from error


def _pieces(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type in lists of about `PIECE_BYTES` each, the same ones in every process."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        piece: list[Tensor] = []
        size = 0
        for tensor in (tensor for tensor in tensors if tensor.dtype == dtype):
            piece.append(tensor)
            size += tensor.nbytes
            if size >= PIECE_BYTES:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece
