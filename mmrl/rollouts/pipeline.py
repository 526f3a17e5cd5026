"""Groups of worlds that take turns: a simulator steps some of them while the policy infers for the others."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmrl.contracts.types import Sample

# A lane yields calls of its simulator and is sent what they return; between them it is the policy's turn.
Lane = Generator[Callable[[], Any], Any, None]


def take_turns(lanes: Sequence[Lane], threads: int) -> None:
    """Runs every lane to its end. One lane alone runs in the calling thread, as a plain loop would.

    Several make their calls in `threads` other threads, one call of a lane at a time. All between the calls runs in the
    calling thread, the lanes in rotation whichever call returns first: what a lane does depends on no timing.

    Raises what a lane or one of its calls raises, after the calls in progress have returned.
    """
    if len(lanes) == 1:
        _run(lanes[0])
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="simulator") as pool:
        try:
            waiting = deque((lane, pool.submit(next(lane))) for lane in lanes)
            while waiting:
                lane, call = waiting.popleft()
                try:
                    following = lane.send(call.result())
                except StopIteration:
                    continue
                waiting.append((lane, pool.submit(following)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run(lane: Lane) -> None:
    call = next(lane)
    while True:
        result = call()
        try:
            call = lane.send(result)
        except StopIteration:
            return


def lane_seed(seed: int, lane: int) -> int:
    """The seed of a lane's sampling; the first lane's is `seed` itself."""
    return seed + 15485863 * lane


def decision_seed(seed: int, start: Sample, copy: int, step: int) -> int:
    """The seed of one decision's noise, which no other episode and no place in a batch has a part in.

    Args:
        copy: which of the episodes from this start it is, of those that are played together.
        step: of the episode.
    """
    digest = hashlib.blake2b(f"{seed}/{start.simulator}/{start.episode}/{copy}/{step}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big") >> 1


def count_worlds(worlds: int, lane: int, lanes: int) -> int:
    """How many of `worlds` a lane gets; the first lanes get those that are left over."""
    return worlds // lanes + (lane < worlds % lanes)
