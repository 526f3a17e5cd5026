"""Data files that are read again and again while a run lasts: whether they are still what they were."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.data.references import local_path


class FileStates:
    """Sizes and modification times of the files of one dataset, each as it was first looked at."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int]] = {}

    def check(self, path: Path, facts: os.stat_result | None = None) -> None:
        """Notes a file that was not looked at before. Raises UserError where one is not what it was.

        Args:
            facts: of the file as it was opened; None: as it is now.
        """
        facts = facts or path.stat()
        now = (facts.st_size, facts.st_mtime_ns)
        then = self._known.setdefault(path, now)
        if now != then:
            what = (
                f"{then[0]:,} bytes then, {now[0]:,} now" if then[0] != now[0] else "written again, as long as before"
            )
            raise UserError(
                f"data file '{path}' has changed since it was opened ({what}), so its rows are not those that were "
                "counted; put it back and go on with resume=auto, or begin a new run"
            )


class MediaStates:
    """The same of the pictures and videos that rows name, two numbers for each, so that millions can be held."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def check(self, sample: Sample) -> None:
        """Notes the files of a row that were not looked at before. Raises UserError where one is not what it was."""
        for source in (*sample.images, *sample.videos):
            name = source.get("path") if isinstance(source, Mapping) else source
            if not isinstance(name, str | Path):
                continue
            try:
                path = os.path.join(sample.root or "", local_path(os.fspath(name)))
                facts = os.stat(path)
            except (OSError, ValueError):
                # Whoever reads it says what is wrong with it.
                continue
            if stat.S_ISDIR(facts.st_mode):
                continue
            now = hash((facts.st_size, facts.st_mtime_ns))
            if self._known.setdefault(hash(path), now) != now:
                raise UserError(
                    f"{sample.where}: file '{path}' has changed since the run first read it, so that one row is two; "
                    "put it back and go on with resume=auto, or begin a new run"
                )
