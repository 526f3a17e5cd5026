"""How the boxes of a sample are written, besides `pixel`, which is of the original picture."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Coordinates that a dataset may name -> the width and height of a whole picture in them.
SIDES: Mapping[str, tuple[int, int]] = {"norm1000": (1000, 1000), "norm1": (1, 1)}


def pixels_of(width: int, height: int) -> str:
    """The name of pixels of a picture of this size, as a policy sees it."""
    return f"{width}x{height}"


def seen_size(coordinates: str) -> tuple[int, int] | None:
    """(width, height) of the picture that `pixels_of` named; None of other coordinates."""
    size = re.fullmatch(r"(\d+)x(\d+)", coordinates)
    return (int(size[1]), int(size[2])) if size else None
