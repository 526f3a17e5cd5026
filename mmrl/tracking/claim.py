"""A run's folder for one process: made, locked, and cleared again of what a run wrote that never got through a step."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from mmrl.contracts.errors import UserError
from mmrl.tracking.files import cannot_write
from mmrl.tracking.run_lock import RunLock, refuse_beside_another, time_of
from video.locks import STALE_S

# What a run writes into its folder. Whatever else lies there is somebody else's.
WRITTEN = (
    "config.yaml",
    "configs",
    "starts.json",
    "environment.json",
    "metrics.jsonl",
    "rollouts",
    "heldout",
    "videos",
    "bad_samples.jsonl",
    "report.html",
    "summary.json",
    "checkpoints",
    "tensorboard",
    "wandb",
    "wandb_id",
)


class Claim:
    """A run's folder, which this process alone writes into until it is released. Use it as a context manager.

    Args:
        folder: the run's; made where absent.
        resume: as in the recipe.

    Attributes:
        took_over: see `RunLock`.

    Raises:
        UserError: another process runs there; it cannot be written; or it holds a run that is not to be resumed.
    """

    def __init__(self, folder: Path, resume: str):
        self.folder = folder
        self._parents: list[Path] = []  # made here, innermost first
        self._lock = RunLock(folder)
        try:
            refuse_beside_another(folder)
            _refuse_finished(folder, resume)
            self._enter()
        except OSError as error:
            self._remove_folders()
            raise cannot_write(folder, error) from error
        remove_leftovers(folder)
        self._before = {path.name for path in folder.iterdir()}
        try:
            # Another process may have come and gone in between.
            _refuse_finished(folder, resume)
        except UserError:
            self.release()
            raise

    @property
    def took_over(self) -> list[str]:
        return self._lock.took_over

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _enter(self) -> None:
        while True:
            for path in reversed((self.folder, *self.folder.parents)):
                if _make_folder(path):
                    self._parents.insert(0, path)
            if not os.access(self.folder, os.W_OK):
                raise UserError(f"cannot write '{self.folder}': permission denied; choose a writable `output` folder")
            try:
                self._lock.acquire()
            except FileNotFoundError:
                # Whoever had made the folder has just removed it.
                continue
            return

    def check(self) -> None:
        """Raises UserError where another process has taken the folder over: this one was taken for dead."""
        self._lock.check()

    def undo(self) -> None:
        """Removes what was written under this claim and the folders that it made, where nobody else uses them.

        Raises:
            UserError: another process has taken the folder over, and nothing is removed.
        """
        self.check()
        for name in WRITTEN:
            path = self.folder / name
            if name in self._before:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
        self.release()
        self._remove_folders()

    def release(self) -> None:
        """Lets other processes in."""
        self._lock.release()

    def _remove_folders(self) -> None:
        for path in self._parents:
            with suppress(OSError):
                path.rmdir()


# As `write_atomic` names what it writes aside, in brackets what the file will be called.
_ASIDE = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")
_CHECKPOINT_ASIDE = re.compile(r"\.step_\d+\.(tmp|old)")


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left half-written in a run's folder.

    Whoever holds the folder is the only one that writes into its folders. At its top others may just be writing a
    report or their own files: what a run itself does not write is removed where it has lain for `STALE_S` seconds.
    """
    for place, folders, files in os.walk(folder):
        top = Path(place) == folder
        for name in [name for name in folders if _CHECKPOINT_ASIDE.fullmatch(name)]:
            shutil.rmtree(Path(place, name), ignore_errors=True)
        folders[:] = [name for name in folders if not name.startswith((".", "step_", "tensorboard", "wandb"))]
        for name in files:
            path, match = Path(place, name), _ASIDE.fullmatch(name)
            own = match is not None and (not top or (match[1] in WRITTEN and match[1] != "report.html"))
            probe = top and name.startswith(".run.") and name.endswith(".probe")
            with suppress(OSError):
                if own or ((match or probe) and time_of(folder) - path.stat().st_mtime > STALE_S):
                    path.unlink()


def remove_asides(folder: Path) -> None:
    """Removes files that `write_atomic` began anywhere in a folder that others may be writing to as well, and that
    nobody has written to for `STALE_S` seconds."""
    for path in folder.rglob(".*.tmp"):
        with suppress(OSError):
            if _ASIDE.fullmatch(path.name) and time_of(folder) - path.stat().st_mtime > STALE_S:
                path.unlink()


def _refuse_finished(folder: Path, resume: str) -> None:
    if resume == "never" and (folder / "metrics.jsonl").exists():
        raise UserError(
            f"'{folder}' already holds a run; set `resume: auto` to go on with it, change `name`, or delete it"
        )


def _make_folder(folder: Path) -> bool:
    """Whether the folder was absent and now is there; another run may make a shared parent at the same moment."""
    if folder.is_dir():
        return False
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    return True
