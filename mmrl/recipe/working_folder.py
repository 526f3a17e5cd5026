"""The working folder as a place of modules: for what a recipe names there, and for what those modules import.

It is never on `sys.path`, where a file of the user's such as `video.py` or `accelerate.py` would stand for a package
that mmrl, or a library that looks for it, imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType
from typing import Any


class WorkingFolder:
    """A finder, the last of `sys.meta_path`: it answers for the names that were asked of it, and for what it found.

    Attributes:
        for_children: simulators' and rewards' worker processes take it along, so that they find the same modules.
    """

    for_children = True

    def __init__(self, folder: str, names: Iterable[str] = (), found: Iterable[str] = ()):
        self.folder, self.names, self.found = folder, set(names), set(found)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module of the folder lies, if this import is to see it; called by Python's import."""
        if path is not None or not (name in self.names or name in self.found or _importer() in self.found):
            return None
        spec = PathFinder.find_spec(name, [self.folder], target)
        if spec is not None:
            self.found.add(name)
        return spec

    def invalidate_caches(self) -> None:
        """Forget the folder's list of files; called by `importlib.invalidate_caches`."""
        sys.path_importer_cache.pop(self.folder, None)

    def __reduce__(self) -> tuple[Callable[..., WorkingFolder], tuple[Any, ...]]:
        return finder_of, (self.folder, tuple(self.names), tuple(self.found))


def finder_of(folder: str, names: Iterable[str] = (), found: Iterable[str] = ()) -> WorkingFolder:
    """The finder of a folder: from then on in `sys.meta_path`, after all but those of earlier folders."""
    finders = [finder for finder in sys.meta_path if isinstance(finder, WorkingFolder)]
    finder = next((known for known in finders if known.folder == folder), WorkingFolder(folder))
    finder.names.update(names)
    finder.found.update(found)
    for known in (*finders, finder):
        if known in sys.meta_path:
            sys.meta_path.remove(known)
    sys.meta_path.extend([finder, *(known for known in finders if known is not finder)])
    return finder


def search_last(name: str) -> None:
    """Has imports of a module's top-level name look in the working folder where nothing else has it."""
    finder_of(os.getcwd(), [name.partition(".")[0]]).invalidate_caches()


def leave_path() -> None:
    """Takes the working folder out of `sys.path`, where `python -m mmrl` puts it first.

    Where mmrl itself is imported from there, and from nowhere else, it becomes the last.
    """
    folder = os.getcwd()
    if sys.flags.safe_path or not sys.path or sys.path[0] not in ("", folder):
        return
    del sys.path[0]
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if home == folder and not any(os.path.abspath(entry) == folder for entry in sys.path):
        sys.path.append(folder)


def _importer() -> str | None:
    """The top-level name of the module whose code imports something, beyond the frames of Python's import itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and not name.startswith("importlib"):
            return name.partition(".")[0]
        frame = frame.f_back
    return None
