"""Images of the report: shrunk, inlined once each under a byte budget, with boxes drawn over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from mmrl.contracts.coordinates import SIDES, seen_size
from vision_rewards.parsers.boxes import BOX_KEYS, LIST_KEYS

Box = tuple[float, float, float, float]
# What answers call their boxes, and what targets do.
KEYS = (*BOX_KEYS, *LIST_KEYS)
MAX_SIDE = 560
PNG_BYTES = 80_000


@dataclass(frozen=True, slots=True)
class Picture:
    """An inlined image with the size in pixels that boxes refer to."""

    uri: str
    width: int
    height: int


class Gallery:
    """Inlines images of a run until `budget` characters are spent."""

    def __init__(self, folder: Path, budget: int):
        self._folder = folder.resolve()
        self._left = budget
        self._known: dict[str, Picture | str] = {}

    def get(self, path: str) -> Picture | str:
        """The picture, or a sentence on why it is not shown."""
        if path not in self._known:
            self._known[path] = self._load(path)
            return self._known[path]
        picture = self._known[path]
        if isinstance(picture, Picture) and not self._pay(picture):
            return f"left out to keep this page small: {path}"
        return picture

    def _load(self, path: str) -> Picture | str:
        from video.pictures import open_picture

        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder):
            return f"outside the run's folder: {path}"
        try:
            with open_picture(file) as image:
                width, height = image.size
                picture = Picture(_inline(image), width, height)
        except (OSError, ValueError):
            return f"missing or unreadable: {path}"
        return picture if self._pay(picture) else f"left out to keep this page small: {path}"

    def _pay(self, picture: Picture) -> bool:
        if len(picture.uri) > self._left:
            return False
        self._left -= len(picture.uri)
        return True


def _inline(image: Any) -> str:
    thumbnail = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    thumbnail.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    thumbnail.save(buffer, format="PNG", optimize=True)
    kind = "png"
    if buffer.tell() > PNG_BYTES:
        buffer, kind = io.BytesIO(), "jpeg"
        thumbnail.convert("RGB").save(buffer, format="JPEG", quality=82)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def find_boxes(value: Any, bare: bool = False) -> list[Box]:
    """Boxes (x1, y1, x2, y2) in a target or parsed answer.

    Reads mappings with the keys that the readers of answers know, `box`, `bbox_2d` or `boxes` among them. With `bare`,
    also four numbers and lists of them outside a mapping, as parsers return.
    """
    if isinstance(value, Mapping):
        return [box for key in KEYS if key in value for box in find_boxes(value[key], bare=True)]
    if not isinstance(value, list | tuple):
        return []
    if len(value) == 4 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        return [tuple(map(float, value))] if bare else []
    return [box for item in value for box in find_boxes(item, bare)]


def to_pixels(box: Box, coordinates: str, width: int, height: int) -> Box:
    """A box of `pixel`, `norm1000`, `norm1` or `WxH` coordinates (pixels of a picture of that size) in the image's."""
    sides = seen_size(coordinates) or SIDES.get(coordinates)
    if sides is None:
        return box
    across, down = width / sides[0], height / sides[1]
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def draw_boxes(picture: Picture, true: Sequence[Box], predicted: Sequence[tuple[int, Box]], alt: str) -> str:
    """The image as one `<svg>` in image pixels; predicted boxes carry the number of their answer."""
    size = max(picture.width, picture.height) / 22
    halos, outlines, labels = [], [], []
    for answer, box in predicted:
        left, top, _, bottom = box
        y = top - size * 0.25 if top > size * 1.2 else min(bottom, picture.height) - size * 0.3
        guess = f'<g class="guess" data-answer="{answer}">'
        halos.append(f"{guess}{_rect(box, 'halo')}</g>")
        outlines.append(f"{guess}{_rect(box, 'predicted')}</g>")
        labels.append(f'{guess}<text x="{left:.2f}" y="{y:.2f}" font-size="{size:.2f}">{answer}</text></g>')
    # The true outline lies between a guess's halo and its dashes, so that equal boxes both stay visible.
    truths = [_rect(box, kind) for kind in ("halo", "true") for box in true]
    shapes = [*halos, *truths, *outlines, *labels]
    small = " small" if max(picture.width, picture.height) <= 160 else ""
    return (
        f'<svg class="picture{small}" viewBox="0 0 {picture.width} {picture.height}" role="img" '
        f'aria-label="{escape(alt)}"><image href="{picture.uri}" width="{picture.width}" height="{picture.height}" '
        f'preserveAspectRatio="none"/>{"".join(shapes)}</svg>'
    )


def _rect(box: Box, kind: str) -> str:
    left, top = min(box[0], box[2]), min(box[1], box[3])
    return (
        f'<rect class="{kind}" x="{left:.2f}" y="{top:.2f}" width="{abs(box[2] - box[0]):.2f}" '
        f'height="{abs(box[3] - box[1]):.2f}" vector-effect="non-scaling-stroke"/>'
    )
