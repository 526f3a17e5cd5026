"""What lies in a cache folder: listing, evicting, counting. Files that the cache did not name are never touched.

Layout: `<root>/<first two digits of the key>/<key>.safetensors`; beside it, while it is made, `<key>.lock` and
`<key>.<token>.part`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from video.entries import BadEntry, read_header
from video.locks import holder_in

KINDS = {"safetensors": "entry", "lock": "lock", "part": "unfinished", "stale": "unfinished"}
# Removing a file there pulls it away from other machines that have it mapped, which kills their process.
UNLINK_BREAKS_MAPPINGS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs")
_NAME = re.compile(r"([0-9a-f]{32})(?:\.[0-9a-f]{16})?\.(safetensors|lock|part|stale)")
_SHARD = re.compile(r"[0-9a-f]{2}")
# No entry takes this long to write, and locks are touched all the time: whoever left such a file is gone.
UNFINISHED_S = 3600.0


@dataclass(frozen=True)
class Item:
    """One file of a cache.

    Attributes:
        kind: `entry`, `lock`, or `unfinished` (written aside by someone who may be dead).
        key: 32 hex digits.
        used, written: seconds since 1970, as the file system says.
    """

    path: Path
    kind: str
    key: str
    nbytes: int
    used: float
    written: float

    @property
    def abandoned(self) -> bool:
        """An unfinished file, or a lock, that nobody keeps up any more; a lock also where its holder is gone."""
        if self.kind == "entry":
            return False
        if time.time() - self.written > UNFINISHED_S:
            return True
        if self.kind != "lock":
            return False
        try:
            holder = holder_in(self.path.read_bytes())
        except OSError:
            return False
        return holder is not None and holder.dead


def key_of(identity: str) -> str:
    """The key of an entry: BLAKE2b-128 of what identifies it, as hex."""
    return blake2b(identity.encode(), digest_size=16).hexdigest()


def entry_path(root: Path, key: str) -> Path:
    """Where the entry of a key lies."""
    return root / key[:2] / f"{key}.safetensors"


def scan(root: Path) -> Iterator[Item]:
    """The cache's files; those that vanish meanwhile are left out."""
    with suppress(FileNotFoundError):
        for shard in sorted(os.listdir(root)):
            if _SHARD.fullmatch(shard):
                yield from scan_shard(root / shard)


def scan_shard(folder: Path) -> Iterator[Item]:
    """The cache's files in one of its folders."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as files:
        for file in files:
            match = _NAME.fullmatch(file.name)
            if match is None or not match[1].startswith(folder.name):
                continue
            with suppress(FileNotFoundError):
                facts = file.stat(follow_symlinks=False)
                kind = KINDS[match[2]]
                yield Item(Path(file.path), kind, match[1], facts.st_size, facts.st_atime, facts.st_mtime)


def evict(items: Iterable[Item], target: int) -> tuple[int, int]:
    """Removes abandoned files, then the least recently used entries, until at most `target` bytes are left.

    A removed file lives on for those who have it mapped (on NFS: for those on the same machine).

    Returns:
        Bytes left, and entries removed.
    """
    items = sorted(items, key=lambda item: (not item.abandoned, item.used))
    left, removed = sum(item.nbytes for item in items), 0
    for item in items:
        if not item.abandoned and (item.kind != "entry" or left <= target):
            continue
        try:
            item.path.unlink(missing_ok=True)
        except OSError:
            # Another user's, on a shared file system: whoever may remove it will. Or a folder, which is no entry.
            continue
        left -= item.nbytes
        removed += item.kind == "entry"
    return left, removed


def unlink_breaks_mappings(root: Path) -> bool:
    """Whether `root` lies on a file system whose server forgets files that other machines still have open."""
    import psutil

    real = Path(os.path.realpath(root))
    mounts = [part for part in psutil.disk_partitions(all=True) if real.is_relative_to(part.mountpoint)]
    kind = max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else ""
    return kind.startswith(UNLINK_BREAKS_MAPPINGS)


@dataclass
class Stats:
    """Figures of a cache folder.

    Attributes:
        entries, nbytes: whole entries.
        frames: over all entries, images included.
        unfinished, unfinished_nbytes: files written aside, by writers at work or dead.
        locks: entries that somebody makes now, or died making.
        codecs: entries by compression.
        specs: (entries, bytes) by the settings that made them, as canonical JSON.
        unreadable: entries whose header cannot be read.
        oldest, newest: last use, seconds since 1970; None without entries.
    """

    entries: int = 0
    nbytes: int = 0
    frames: int = 0
    unfinished: int = 0
    unfinished_nbytes: int = 0
    locks: int = 0
    codecs: Counter[str] = field(default_factory=Counter)
    specs: dict[str, tuple[int, int]] = field(default_factory=dict)
    unreadable: int = 0
    oldest: float | None = None
    newest: float | None = None


def stats(root: Path) -> Stats:
    """Figures of a cache folder, from names and headers; pixels are not read."""
    total = Stats()
    for item in scan(root):
        if item.kind == "lock":
            total.locks += 1
        elif item.kind == "unfinished":
            total.unfinished += 1
            total.unfinished_nbytes += item.nbytes
        else:
            _count(total, item)
    return total


def _count(total: Stats, item: Item) -> None:
    total.entries += 1
    total.nbytes += item.nbytes
    total.oldest = item.used if total.oldest is None else min(total.oldest, item.used)
    total.newest = item.used if total.newest is None else max(total.newest, item.used)
    try:
        header = read_header(item.path)
        layout, spec = json.loads(header["layout"]), json.loads(header["identity"])["spec"]
        total.frames += layout["shape"][0]
    except (BadEntry, ValueError, KeyError):
        total.unreadable += 1
        return
    total.codecs[layout["codec"]] += 1
    text = json.dumps(spec, sort_keys=True)
    entries, nbytes = total.specs.get(text, (0, 0))
    total.specs[text] = (entries + 1, nbytes + item.nbytes)
