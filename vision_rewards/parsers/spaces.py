"""Coordinate spaces of boxes and points. A space is declared by the caller: no number's size is taken as a hint.

Qwen2-VL and Qwen3-VL write "norm1000", Qwen2.5-VL pixels of the resized image, most data sets those of the original.
"""

from __future__ import annotations

from collections.abc import Sequence

SPACES = {"norm1": (1.0, 1.0), "norm1000": (1000.0, 1000.0)}
Space = str | tuple[float, float]


def rescale(values: Sequence[float], source: Space, to: Space) -> list[float]:
    """Convert a box, a point or a polygon (x, y, x, y, …) from one space to another.

    Args:
        values: an even number of coordinates, x first.
        source: the space of `values`: "norm1" (0 to 1), "norm1000" (0 to 1000), or (width, height) of the image whose
            pixels they count.
        to: the space of the result.

    Raises:
        ValueError: an odd number of coordinates, or a space that is neither known nor a positive (width, height).
    """
    if len(values) % 2:
        raise ValueError(f"{len(values)} coordinates are no x, y pairs")
    (width, height), (to_width, to_height) = _extent(source), _extent(to)
    scales = (to_width / width, to_height / height)
    return [value * scales[index % 2] for index, value in enumerate(values)]


def _extent(space: Space) -> tuple[float, float]:
    if isinstance(space, str):
        if space not in SPACES:
            raise ValueError(f"coordinate space {space!r} is unknown; use {', '.join(SPACES)} or (width, height)")
        return SPACES[space]
    if len(space) != 2 or not all(side > 0 for side in space):
        raise ValueError(f"coordinate space {space!r} is not (width, height), both above 0")
    return float(space[0]), float(space[1])
