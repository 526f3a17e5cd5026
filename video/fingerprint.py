"""Content fingerprints of videos, folders of frames and lists of images: what a cache key knows of a source.

Digests are XXH3-128: they tell apart files that differ by accident, not files made to collide.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash

from video.file_state import FileState, file_state
from video.images import load_image
from video.paths import resolve
from video.types import VideoError

Mode = Literal["fast", "full"]
MODES = ("fast", "full")
BLOCK = 64 * 2**10
BLOCKS = 64


@dataclass(frozen=True)
class Fingerprint:
    """What is known of a source's content.

    Attributes:
        covers: `all` bytes went into the digest, or `blocks`: 64 blocks of 64 KiB, evenly spread from head to tail.
        digest: hex.
        size: bytes, over all files of the source.
        stamp: digest of the files' modification times. Not part of the content; a different stamp over equal blocks
            says that every byte has to be compared.
    """

    covers: Literal["all", "blocks"]
    digest: str
    size: int
    stamp: str

    def content(self) -> dict[str, Any]:
        """The part that goes into a cache key."""
        return {"covers": self.covers, "digest": self.digest, "size": self.size}


def fingerprint(source: Any, mode: Mode = "fast") -> Fingerprint:
    """The fingerprint of a video file, a folder of frames, or a list of images (paths, bytes, PIL images
    or arrays). PIL images go in as the RGB that they decode to.

    `fast` reads every byte of files up to 4 MiB, and 64 blocks of 64 KiB of larger ones; `full` reads every byte.
    Digests of files are remembered in the process by path, inode, size and times.

    Raises:
        VideoError: `missing` or `not_an_image`, for a path that is not there or cannot be read, or an unknown kind of
            item.
    """
    parts = list(_parts(source))
    digests, times, size, every_byte = [], [], 0, True
    for name, item in parts:
        digest, item_size, stamp, whole = _item(item, mode, "image" if name is None else f"image {name}")
        digests.append((name, item_size, digest))
        times.append(stamp)
        size += item_size
        every_byte &= whole
    single = len(parts) == 1 and parts[0][0] is None
    return Fingerprint(
        covers="all" if every_byte else "blocks",
        digest=digests[0][2] if single else _short(digests),
        size=size,
        stamp=_short(times),
    )


def _short(value: Any) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest()


def _parts(source: Any) -> Iterator[tuple[str | int | None, Any]]:
    """(name, item) of every file; names count where they order frames: in folders and lists."""
    if isinstance(source, str | os.PathLike):
        path = resolve(source)
        if path.is_dir():
            yield from ((file.name, file) for file in sorted(path.iterdir()) if file.is_file())
        else:
            yield None, path
    elif isinstance(source, bytes | bytearray | memoryview):
        yield None, source
    elif isinstance(source, Sequence):
        yield from enumerate(source)
    else:
        yield None, source


def _item(item: Any, mode: Mode, name: str) -> tuple[str, int, int, bool]:
    """Digest, size in bytes, time stamp in ns, and whether every byte went in."""
    if isinstance(item, bytes | bytearray | memoryview):
        return xxhash.xxh3_128_hexdigest(item), len(item), 0, True
    if hasattr(item, "tobytes"):
        # Palette, transparency and orientation of a PIL image decide its pixels, and are not among its bytes.
        pixels = item if isinstance(item, np.ndarray) else load_image(item, name=name)
        content = pixels.tobytes()
        return _short((str(pixels.dtype), pixels.shape, xxhash.xxh3_128_hexdigest(content))), len(content), 0, True
    if not isinstance(item, str | os.PathLike):
        raise VideoError(
            "not_an_image", type(item).__name__, "a source that has no content to fingerprint",
            "give a path, bytes, a PIL image or an array",
        )  # fmt: skip
    path = item if isinstance(item, Path) and item.is_absolute() else resolve(item)
    return _file(str(path), mode)


def _file(path: str, mode: Mode) -> tuple[str, int, int, bool]:
    try:
        state = file_state(path)
        blocks = mode == "fast" and state.size > BLOCK * BLOCKS
        digest = (_remembered if state.settled else _digest)(path, state, blocks)
    except OSError as error:
        raise VideoError(
            "missing", path, error.strerror or str(error), "check the path, and that the file can be read"
        ) from error
    return digest, state.size, state.mtime_ns, not blocks


def _digest(path: str, state: FileState, blocks: bool) -> str:
    """Digest of the whole file, or of its evenly spread blocks."""
    total = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as file:
        if blocks:
            last = state.size - BLOCK
            for index in range(BLOCKS):
                file.seek(index * last // (BLOCKS - 1))
                total.update(file.read(BLOCK))
        else:
            while chunk := file.read(2**22):
                total.update(chunk)
    return total.hexdigest()


_remembered = lru_cache(maxsize=2**16)(_digest)
