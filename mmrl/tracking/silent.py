"""The diary of a process that does not write one: another of those that train together does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import BadSample
from mmrl.contracts.policy import Spelling
from mmrl.contracts.types import Group
from mmrl.tracking.tracker import Tracker


class SilentTracker(Tracker):
    """A `Tracker` that opens, writes and says nothing."""

    def __init__(self, folder: Path):
        self.folder = folder

    def begin(self, step: int, now: float, config: str, changes: Sequence[str]) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def log(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """Nothing."""

    def rollouts(self, step: int, stage: str, groups: Sequence[Group], spelling: Spelling | None = None) -> None:
        """Nothing."""

    def held_out(self, step: int, stage: str, groups: Sequence[Group], spelling: Spelling | None = None) -> None:
        """Nothing."""

    def expect(self, bad: Sequence[tuple[str, BadSample]]) -> None:
        """Nothing."""

    def bad_sample(self, data: str, error: BadSample, dataset: str | None, row: int | None = None) -> None:
        """Nothing."""

    def summary(self, facts: Mapping[str, Any]) -> None:
        """Nothing."""

    def rounds(self, rounds: Mapping[str, Any]) -> None:
        """Nothing."""

    def environment(self, **facts: Any) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
