"""A sink: one line of text per step."""

from collections.abc import Mapping
from pathlib import Path


class Lines:
    """Appends `step loss` to lines.txt in the run's folder."""

    def __init__(self, folder: Path, project: str, resume_step: int | None):
        self._file = (folder / "lines.txt").open("a")

    def log(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """One step's figures."""
        self._file.write(f"{step} {stage} {metrics.get('loss/total', 0.0):.6f}\n")

    def close(self) -> None:
        """Flushes and closes the file."""
        self._file.close()
