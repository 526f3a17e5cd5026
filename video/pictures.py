"""Pictures opened within limits: of some formats alone, with bounds on their sides and on what is decoded at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# What Pillow decodes by itself or with a codec of its own; not EPS, which it gives to Ghostscript, and not the dozens
# of formats that no dataset has.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "AVIF")
# Twice Pillow's MAX_IMAGE_PIXELS, where Pillow itself stops; kept here so that a global override does not lift it.
MAX_PIXELS = 178_956_970
# The longest side that a JPEG can have.
MAX_SIDE = 65_535
# Of pictures that are decoded at the same moment, in all threads; a larger one is decoded alone.
MOST_BYTES_AT_ONCE = 2**30
# As decoded, as RGB and turned: up to three copies of four bytes.
BYTES_PER_PIXEL = 12


@cache
def formats() -> tuple[str, ...]:
    """`FORMATS`, those that the installed Pillow has."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_picture(source: Any) -> Any:
    """A path or a file object as a PIL image, of which only the header is read.

    Raises:
        OSError: none of `FORMATS`, or what Pillow raises.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(source, formats=formats())
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError(f"{error}; formats that are read: {', '.join(formats())}") from error


def excess(width: int, height: int) -> str | None:
    """Why a picture of this size is not decoded; None: it is."""
    if max(width, height) > MAX_SIDE:
        return f"{width} x {height} pixels, limit {MAX_SIDE} a side"
    return f"{width} x {height} pixels, limit {MAX_PIXELS}" if width * height > MAX_PIXELS else None


class _Room:
    """Bytes that threads share: each waits until there is room for its own, or nobody else has any."""

    def __init__(self, most: int):
        self.most, self.taken = most, 0
        self._changed = threading.Condition()

    @contextmanager
    def of(self, nbytes: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self.taken == 0 or self.taken + nbytes <= self.most)
            self.taken += nbytes
        try:
            yield
        finally:
            with self._changed:
                self.taken -= nbytes
                self._changed.notify_all()


ROOM = _Room(MOST_BYTES_AT_ONCE)


@contextmanager
def decoding(width: int, height: int) -> Iterator[None]:
    """Inside, a picture of this size may be decoded; waits while others fill the memory for it."""
    with ROOM.of(width * height * BYTES_PER_PIXEL):
        yield
