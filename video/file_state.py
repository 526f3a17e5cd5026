"""One version of a file told from another by what the file system says: what may be remembered about it."""

import os
import time
from typing import NamedTuple

# A file written this recently may be written again without its times moving: nothing is remembered about it.
UNSETTLED_NS = 2 * 10**9


class FileState(NamedTuple):
    """What changes when a settled file is replaced or written to."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def settled(self) -> bool:
        """Whether the next change of the file is sure to show."""
        return time.time_ns() - max(self.mtime_ns, self.ctime_ns) > UNSETTLED_NS


def file_state(path: str | os.PathLike[str]) -> FileState:
    """The state of a file. Raises OSError."""
    facts = os.stat(path)
    return FileState(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
