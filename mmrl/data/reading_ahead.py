"""Reading ahead, beside training and beside evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmrl.contracts.policy import Media
from mmrl.data.ahead import ReadAhead
from mmrl.data.mixture import Mixture


@contextmanager
def reading_beside(videos: Media, max_gb: float) -> Iterator[None]:
    """Lets a reader of videos read ahead for something else than training, whose own results stay held meanwhile.

    What training holds now is taken off `max_gb`.
    """
    outer = videos.ahead
    held = outer.held if outer is not None else 0
    videos.ahead = ReadAhead(max(1, int(max_gb * 1e9) - held))
    try:
        yield
    finally:
        videos.ahead.close()
        videos.ahead = outer


@contextmanager
def reading_ahead(mixture: Mixture, videos: Media | None, max_gb: float) -> Iterator[None]:
    """Lets a mixture and the policy's reader of videos read ahead; however it is left, the threads are gone then."""
    ahead = ReadAhead(max(1, int(max_gb * 1e9)))
    mixture.ahead = ahead
    if videos is not None:
        videos.ahead = ahead
    try:
        yield
    finally:
        mixture.ahead = None
        if videos is not None:
            videos.ahead = None
        ahead.close()
