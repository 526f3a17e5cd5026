"""Boxes in the coordinates that a model writes: of a sample's target and of its demonstration alike."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mmrl.contracts.errors import BadSample, unknown
from mmrl.contracts.types import Sample
from vision_rewards.places import move_places
from vision_rewards.registry import place_keys

# How a model writes boxes: in pixels of the image or frame as it sees it, or in thousandths of its sides.
Coordinates = Literal["resized_pixel", "norm1000"]
# A bracketed list of exactly four numbers: how every dataset format here writes a box inside text.
_BOX = re.compile(
    r"\[\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\]"
)


@dataclass(frozen=True, slots=True)
class Canvas:
    """An image or a video that boxes are on.

    Attributes:
        size: (width, height) of its source.
        seen: (width, height) as the model sees it.
    """

    size: tuple[int, int]
    seen: tuple[int, int]


def localise(
    sample: Sample, convention: Coordinates, images: Sequence[Canvas], videos: Sequence[Canvas] = ()
) -> Sample:
    """Converts the sample's boxes, in its target and its demonstration, to the model's convention.

    Args:
        images, videos: the sample's, in order.

    `target["image"]` or `target["video"]` (default: the first) says which one the boxes refer to. The returned
    sample's `coordinates` is `norm1000` or `WxH`, the size that the pixels refer to.

    Raises:
        BadSample: boxes on an image or video that is not there, in coordinates that are not known, or that are none.
    """
    places = {key: kind for key, kind in place_keys().items() if key in sample.target}
    if not places or not (images or videos):
        return sample
    canvas = _canvas(sample, "track" in places.values(), images, videos)
    sources = {"pixel": canvas.size, "norm1000": (1000, 1000), "norm1": (1, 1)}
    if sample.coordinates not in sources:
        raise BadSample(sample.where, unknown("coordinates", sample.coordinates, sources))
    source = sources[sample.coordinates]
    goal = (1000, 1000) if convention == "norm1000" else canvas.seen
    name = "norm1000" if convention == "norm1000" else f"{goal[0]}x{goal[1]}"
    if source == goal:
        return replace(sample, coordinates=name)
    scale = (goal[0] / source[0], goal[1] / source[1])
    text = sample.demonstration
    if text is not None:
        text = _BOX.sub(lambda m: str(_scaled([float(g) for g in m.groups()], scale)), text)
    try:
        target = move_places(sample.target, places, lambda numbers: _scaled(numbers, scale))
    except ValueError as error:
        raise BadSample(sample.where, f"the target's {error}") from None
    return replace(sample, target=target, demonstration=text, coordinates=name)


def _canvas(sample: Sample, tracked: bool, images: Sequence[Canvas], videos: Sequence[Canvas]) -> Canvas:
    """What the target's boxes are on."""
    on_video = "video" in sample.target or tracked or not images
    kind, shown = ("video", videos) if on_video else ("image", images)
    index = int(sample.target.get(kind, 0))
    if not 0 <= index < len(shown):
        raise BadSample(sample.where, f"the target's boxes are on {kind} {index} of {len(shown)}")
    return shown[index]


def _scaled(values: Sequence[float], scale: tuple[float, float]) -> list[int]:
    """A box or point in whole units of another size; a side that is there stays one unit long at least."""
    scaled = [round(value * scale[i % 2]) for i, value in enumerate(values)]
    for low, high in ((0, 2), (1, 3)) if len(values) == 4 else ():
        if values[low] < values[high] and scaled[low] == scaled[high]:
            middle = (values[low] + values[high]) / 2 * scale[low]
            scaled[low] = math.floor(middle)
            scaled[high] = scaled[low] + 1
    return scaled
