"""What an entry says about its making."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any

from video.fingerprint import Fingerprint, fingerprint
from video.paths import resolve, source_name
from video.types import Frames, Source, VideoError

# Backend, as frames name it -> distribution. Any other backend is a distribution of its own name.
DISTRIBUTIONS = {"pyav": "av", "images": "pillow"}
# Decides nothing about pixels.
CONTAINER = "safetensors"


def provenance(source: Source, known: Fingerprint, frames: Frames) -> dict[str, Any]:
    """The source's name, stamp and digest over every byte, versions of what decoded and wrote it, and the date."""
    full = known if known.covers == "all" else fingerprint(source, "full")
    backend = frames.metadata.backend
    packages = ("torch", CONTAINER, DISTRIBUTIONS.get(backend, backend))
    return {
        "source": {"name": source_name(source), "stamp": known.stamp, "full": full.digest},
        "versions": {name: version(name) for name in packages},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def other_versions(origin: Mapping[str, Any]) -> tuple[str, ...]:
    """The packages, of those that decide an entry's pixels, which are here in another version than made the entry."""
    return tuple(
        f"{name} {then} (here {version(name)})"
        for name, then in sorted(origin["versions"].items())
        if name != CONTAINER and version(name) != then
    )


@cache
def version(package: str) -> str | None:
    """An installed package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def open_image(source: Any) -> Any:
    """A path or encoded bytes as a PIL image, of which only the header is read.

    Raises:
        VideoError: `missing` or `not_an_image`.
    """
    from PIL import Image

    from video.pictures import open_picture

    opened = resolve(source) if isinstance(source, str | os.PathLike) else io.BytesIO(source)
    try:
        return open_picture(opened)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(
            "not_an_image", source_name(source), str(error), "give an image of a format that is read"
        ) from error
