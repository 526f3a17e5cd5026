"""What an entry says about its making."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any

from video.fingerprint import Fingerprint, fingerprint
from video.paths import resolve
from video.types import Frames, Source, VideoError

# Backend, as frames name it -> distribution. Any other backend is a distribution of its own name.
DISTRIBUTIONS = {"pyav": "av", "images": "pillow"}


def provenance(source: Source, known: Fingerprint, frames: Frames) -> dict[str, Any]:
    """The source's name, stamp and digest over every byte, versions of what decoded and wrote it, and the date."""
    full = known if known.covers == "all" else fingerprint(source, "full")
    backend = frames.metadata.backend
    packages = ("torch", "safetensors", DISTRIBUTIONS.get(backend, backend))
    return {
        "source": {"name": source_name(source), "stamp": known.stamp, "full": full.digest},
        "versions": {name: version(name) for name in packages},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def version(package: str) -> str | None:
    """An installed package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def source_name(source: Source) -> str:
    """A source as messages and entries name it."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"image of {len(source)} bytes"
    if isinstance(source, list | tuple) and source:
        return f"{len(source)} images, the first {source_name(source[0])}"
    return type(source).__name__


def open_image(source: Any) -> Any:
    """A path or encoded bytes as a PIL image, of which only the header is read.

    Raises:
        VideoError: `missing` or `not_an_image`.
    """
    from PIL import Image

    opened = resolve(source) if isinstance(source, str | os.PathLike) else io.BytesIO(source)
    try:
        return Image.open(opened)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError("not_an_image", source_name(source), str(error), "give an image that Pillow opens") from error
