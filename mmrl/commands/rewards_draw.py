"""Draws what a target and an answer say about places in an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from mmrl.contracts.errors import UserError
from video.pictures import excess, open_picture

GOLD, ANSWER = (0, 150, 60), (220, 30, 30)
WIDTH, RADIUS, MARGIN, LARGEST = 3, 5, 1.1, 4096
NOT_PLACES = ("size", "counts")  # of run-length masks


def draw(path: Path, image: str | None, target: Mapping[str, Any], parsed: Any) -> Path:
    """Writes a PNG: the target's boxes, points and polygons in green, the answer's in red, in pixels of the image.

    Args:
        path: of the PNG.
        image: what to draw on; None: a blank page that holds every shape.
        target: a ground truth.
        parsed: what a reward read from a completion.

    Raises:
        UserError: nothing to draw, or a file that cannot be read or written.
    """
    layers = [(color, list(shapes(value))) for color, value in ((GOLD, target), (ANSWER, parsed))]
    if not layers[0][1]:
        raise UserError(f"--draw: the target has no box, point or polygon among its keys {sorted(target)}")
    page = _open(image) if image else _blank([shape for _, outlines in layers for shape in outlines])
    canvas = ImageDraw.Draw(page)
    for color, outlines in layers:
        for shape in outlines:
            _outline(canvas, shape, color)
    try:
        page.save(path, format="PNG")
    except OSError as error:
        raise UserError(f"--draw: cannot write '{path}': {error.strerror or error}") from None
    return path


def shapes(value: Any) -> Iterator[list[float]]:
    """Every list of 2 (a point), 4 (a box) or an even number from 6 (a polygon) of numbers, at any depth."""
    if isinstance(value, Mapping):
        value = [item for key, item in value.items() if key not in NOT_PLACES]
    if not isinstance(value, (list, tuple)):
        return
    if value and all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value):
        if len(value) % 2 == 0:
            yield [float(item) for item in value]
        return
    for item in value:
        yield from shapes(item)


def _outline(canvas: ImageDraw.ImageDraw, shape: list[float], color: tuple[int, int, int]) -> None:
    if len(shape) == 2:
        x, y = shape
        canvas.ellipse([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS], outline=color, width=WIDTH)
    elif len(shape) == 4:
        x1, y1, x2, y2 = shape
        canvas.rectangle([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)], outline=color, width=WIDTH)
    else:
        canvas.polygon(shape, outline=color, width=WIDTH)


def _open(image: str) -> Image.Image:
    try:
        with open_picture(image) as opened:
            if problem := excess(opened.width, opened.height):
                raise UserError(f"--image: '{image}' is too large: {problem}")
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"--image: cannot read '{image}': {error}") from None


def _blank(shapes: list[list[float]]) -> Image.Image:
    edges = [max(max(shape[axis::2]) for shape in shapes) * MARGIN for axis in (0, 1)]
    if max(edges) > LARGEST:
        raise UserError(f"--draw: the shapes reach {max(edges):.0f} px; give the --image that they belong to")
    return Image.new("RGB", tuple(max(64, int(edge)) for edge in edges), "white")
