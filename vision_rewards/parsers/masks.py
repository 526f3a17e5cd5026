"""Masks in an answer: COCO's run lengths, or polygons."""

from __future__ import annotations

from typing import Any, NamedTuple

from vision_rewards.parsers.geometry import is_coordinate
from vision_rewards.parsers.json_values import parse_written_json

OUTLINE_KEYS = ("polygons", "segmentation", "polygon", "points", "mask")
MAX_PIXELS = 4096 * 4096
MAX_VERTICES = 2000
# Largest horizontal or vertical step summed over all edges: what COCO's rasteriser spends memory on.
MAX_OUTLINE = 200_000.0


class Mask(NamedTuple):
    """A mask of `height` × `width`: run lengths in column order, background first, or polygons (x, y, x, y, …)."""

    height: int
    width: int
    runs: list[int] | None
    polygons: list[list[float]] | None


def read_mask(value: Any, size: tuple[int, int] | None = None) -> tuple[Mask | None, str]:
    """Check a mask that was read from JSON.

    Args:
        value: `{"size": [height, width], "counts": …}` with COCO's counts, as a list or as its compressed string;
            `{"polygons": […]}` (or `polygon`, `segmentation`), each polygon x, y, x, y, … or [[x, y], …]; or one such
            polygon. A pixel's centre is at its index + ½.
        size: (height, width) that the mask must have; None where `value` must state it.

    Returns:
        (mask, "ok"), or (None, reason): "unparsable", "bad_size" (not `size`, or above `MAX_PIXELS`), "bad_runs" (not
        covering the size), "bad_polygon" (less than 3 or more than `MAX_VERTICES` vertices in all, one outside the
        image, or an outline above `MAX_OUTLINE`).
    """
    stated = value.get("size") if isinstance(value, dict) else None
    if stated is not None and not _is_size(stated):
        return None, "bad_size"
    if size is None and stated is None:
        return None, "unparsable"
    height, width = size if size is not None else stated
    if (stated is not None and tuple(stated) != (height, width)) or height * width > MAX_PIXELS:
        return None, "bad_size"
    if isinstance(value, dict) and "counts" in value:
        runs = _read_counts(value["counts"], height * width)
        return (None, "bad_runs") if runs is None else (Mask(height, width, runs, None), "ok")
    if isinstance(value, dict):
        outlines = [value[key] for key in OUTLINE_KEYS if key in value]
        value = outlines[0] if len(outlines) == 1 else None
    polygons = _read_polygons(value)
    if polygons is None:
        return None, "unparsable"
    if not _fits(polygons, height, width):
        return None, "bad_polygon"
    return Mask(height, width, None, polygons), "ok"


def parse_mask(text: str, size: tuple[int, int]) -> tuple[Mask | None, str]:
    """Read an answer that is one mask in JSON, as `parse_written_json` reads it, alone or alone in a list.

    Forms and reasons as `read_mask`.
    """
    value, reason = parse_written_json(text)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    return read_mask(value, size) if reason == "ok" else (None, reason)


def decode_counts(text: str) -> list[int]:
    """The run lengths in COCO's compressed string: five bits per character from "0" on, from the fourth run on as a
    difference to the run before the last.

    Raises:
        ValueError: a character outside "0" to "o", or a string that ends within a number.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("not a compressed run length")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("ends within a run length")
    return runs


def _is_size(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return False
    return all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= MAX_PIXELS for side in value)


def _read_counts(counts: Any, pixels: int) -> list[int] | None:
    if isinstance(counts, str):
        try:
            counts = decode_counts(counts)
        except ValueError:
            return None
    if not isinstance(counts, (list, tuple)):
        return None
    if not all(isinstance(run, int) and not isinstance(run, bool) and run >= 0 for run in counts):
        return None
    return list(counts) if sum(counts) == pixels else None


def _read_polygons(value: Any) -> list[list[float]] | None:
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if all(map(is_coordinate, value)) or all(map(_is_point, value)):
        value = [value]
    polygons = []
    for polygon in value:
        if isinstance(polygon, (list, tuple)) and polygon and all(map(_is_point, polygon)):
            polygon = [coordinate for point in polygon for coordinate in point]
        if not isinstance(polygon, (list, tuple)) or len(polygon) % 2 or not all(map(is_coordinate, polygon)):
            return None
        polygons.append([float(coordinate) for coordinate in polygon])
    return polygons


def _is_point(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(is_coordinate, value))


def _fits(polygons: list[list[float]], height: int, width: int) -> bool:
    if any(len(polygon) < 6 for polygon in polygons) or sum(map(len, polygons)) > 2 * MAX_VERTICES:
        return False
    outline = 0.0
    for polygon in polygons:
        points = list(zip(polygon[::2], polygon[1::2]))
        if not all(0 <= x <= width and 0 <= y <= height for x, y in points):
            return False
        for (x, y), (next_x, next_y) in zip(points, points[1:] + points[:1]):
            outline += max(abs(next_x - x), abs(next_y - y))
    return outline <= MAX_OUTLINE
