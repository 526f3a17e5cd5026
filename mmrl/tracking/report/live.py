"""The page of a run that goes on: written again and again, and never at the cost of much time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mmrl.contracts.errors import UserError
from mmrl.tracking.report.page import write_report

# The longest share of a run's time that writing its page may take.
SHARE = 0.02


class LiveReport:
    """Writes the page with a run's first figures, then at evaluations and whenever some time has passed.

    Args:
        folder: the run's.
        every: seconds from one page to the next; None: only evaluations bring one.
        say: is told, once, where a page could not be made.
        clock: seconds that pass.
    """

    def __init__(
        self,
        folder: Path,
        every: float | None,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.folder, self.every = folder, every
        self._say, self._clock = say, clock
        self._ended: float | None = None
        self._rest = 0.0
        self._failed = False

    def update(self, evaluated: bool) -> None:
        """Writes the page where it is due.

        Args:
            evaluated: the run's newest figures are of an evaluation.

        Raises:
            UserError: the disk cannot be written.
        """
        began = self._clock()
        if self._ended is not None:
            passed = began - self._ended
            late = self.every is not None and passed >= self.every
            if passed < self._rest or not (evaluated or late):
                return
        try:
            write_report(self.folder)
        except UserError:
            raise
        # A page is no reason to lose a run: what is wrong is said, and stops nothing but the page at the run's end.
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._say(f"report.html could not be written, and training goes on: {type(error).__name__}: {error}")
        self._ended = self._clock()
        self._rest = (self._ended - began) / SHARE
