"""Joining the processes that a launcher has started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from mmrl.contracts.errors import UserError, first_line
from mmrl.contracts.world import ALONE, World
from mmrl.parallel.launch import launched, size_of
from mmrl.recipe.parallel import ParallelConfig


@contextmanager
def joined(settings: ParallelConfig, device: str = "auto") -> Iterator[World]:
    """The world of this process, while it trains. One process is `ALONE`, and torch.distributed is not touched.

    At the end each waits for the others; an error of one is raised in all of them.

    Args:
        device: `policy.device`.

    Raises:
        UserError: the others cannot be reached; there are fewer GPUs than processes here; or several processes are
            asked for, and nothing has started them.
    """
    size = size_of(settings)
    if size > 1 and launched() == 1:
        raise UserError(
            f"parallel.processes is {size}, and this is one process: start it with `torchrun --nproc-per-node {size}`, "
            "or train the recipe's file with `mmrl train`, which starts them itself"
        )
    if size == 1:
        yield ALONE
        return
    world = _join(settings.timeout, device)
    import torch.distributed as dist

    try:
        yield world
        world.exchange("the end", None)
    except BaseException as error:
        world.fail(error)
        raise
    finally:
        dist.destroy_process_group()


def _join(timeout: float, device: str) -> World:
    import torch
    import torch.distributed as dist

    from mmrl.parallel.ranks import Ranks

    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    on_cuda = device != "cpu" and torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if on_cuda and local >= torch.cuda.device_count():
        raise UserError(
            f"process {local} of this machine has no GPU of its own: torch sees {torch.cuda.device_count()}; start as "
            "many processes as there are, or set policy.device: cpu"
        )
    try:
        dist.init_process_group("gloo", timeout=timedelta(seconds=timeout))
    except (ValueError, RuntimeError) as error:
        raise UserError(f"the processes cannot meet at {place}: {first_line(error)}") from None
    gradients = None
    if on_cuda:
        torch.cuda.set_device(local)
        gradients = dist.new_group(backend="nccl", timeout=timedelta(seconds=timeout))
    return Ranks(dist.get_rank(), dist.get_world_size(), gradients=gradients)
