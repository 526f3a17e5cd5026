"""Every start of a run: the step it went on from, what had changed, its recipe and how long it ran.

configs/0001.yaml   the recipe of each start; config.yaml is that of the last
starts.json         a list of what `Start` has
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.tracking.files import write_atomic

FILE = "starts.json"
FOLDER = "configs"


@dataclass(frozen=True, slots=True)
class Start:
    """A start.

    Attributes:
        number: 1 for the first.
        step: steps that were behind it.
        time: Unix seconds.
        changes: what differs from the start that the steps behind it belong to, in words.
        seconds: how long it ran; of one that was killed until its last figure, and null until another begins.
    """

    number: int
    step: int
    time: float
    changes: tuple[str, ...] = ()
    seconds: float | None = None

    @property
    def config(self) -> str:
        """The file of its recipe, in the run's folder."""
        return f"{FOLDER}/{self.number:04d}.yaml"


def read_starts(folder: Path) -> list[Start]:
    """The starts of a run, first to last; empty where none is recorded.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        return [Start(**{**line, "changes": tuple(line["changes"])}) for line in json.loads(path.read_text())]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path} is damaged; delete it to go on") from None


def in_force(starts: Iterable[Start]) -> list[Start]:
    """Those whose steps the run still has: a start goes on from an earlier step than others had come to, or from it."""
    standing: list[Start] = []
    for start in starts:
        standing = [*(earlier for earlier in standing if earlier.step < start.step), start]
    return standing


def ran_until(starts: Sequence[Start], last_figure: float) -> float:
    """Seconds of all starts together, where the last one went on at least until this moment (Unix seconds)."""
    ran = [start.seconds if start.seconds is not None else max(0.0, last_figure - start.time) for start in starts]
    return sum(ran)


class Starts:
    """Keeps starts.json and configs/ of a run that goes on.

    Args:
        folder: the run's folder.
        last_figure: when the run wrote its last figure (Unix seconds); None: it wrote none.
    """

    def __init__(self, folder: Path, last_figure: float | None):
        self.folder = folder
        self.all = read_starts(folder)
        if self.all and self.all[-1].seconds is None:
            last = self.all[-1]
            seconds = 0.0 if last_figure is None else max(0.0, last_figure - last.time)
            self.all[-1] = replace(last, seconds=round(seconds, 1))

    def before(self, step: int) -> Path | None:
        """The recipe that the steps up to `step` were taken with; None where the run has none of them."""
        earlier = [start for start in in_force(self.all) if start.step < step]
        return self.folder / earlier[-1].config if earlier else None

    def begin(self, step: int, now: float, config: str, changes: Sequence[str]) -> Start:
        """Records a start and the text of its recipe. Raises UserError where it cannot be written."""
        start = Start(len(self.all) + 1, step, round(now, 3), tuple(changes))
        write_atomic(self.folder / start.config, config)
        self.all.append(start)
        self._write()
        return start

    def end(self, now: float) -> float:
        """Records how long the last start ran. Returns the seconds of all."""
        last = self.all[-1]
        self.all[-1] = replace(last, seconds=round(max(0.0, now - last.time), 1))
        self._write()
        return ran_until(self.all, now)

    def _write(self) -> None:
        lines: list[Mapping[str, Any]] = [asdict(start) for start in self.all]
        write_atomic(self.folder / FILE, json.dumps(lines, ensure_ascii=False, indent=1) + "\n")
