"""Boxes in the coordinates that a model writes: of a sample's target and of its demonstration alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from mmrl.contracts.coordinates import SIDES, pixels_of
from mmrl.contracts.errors import BadSample, unknown
from mmrl.contracts.types import Sample
from mmrl.policies.written_places import WrittenPlace, moved, places_in
from vision_rewards.places import move_places
from vision_rewards.registry import place_keys

# How a model writes boxes: in pixels of the image or frame as it sees it, or in thousandths of its sides.
Coordinates = Literal["resized_pixel", "norm1000"]
# A list of numbers in a thought is taken for a box where its sides are at least this share of the picture's.
LEAST_SIDE = 0.01


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
    sources = {"pixel": canvas.size, **SIDES}
    if sample.coordinates not in sources:
        raise BadSample(sample.where, unknown("coordinates", sample.coordinates, sources))
    source = sources[sample.coordinates]
    goal = SIDES["norm1000"] if convention == "norm1000" else canvas.seen
    name = "norm1000" if convention == "norm1000" else pixels_of(*goal)
    if source == goal:
        return replace(sample, coordinates=name)
    scale = (goal[0] / source[0], goal[1] / source[1])
    text = sample.demonstration
    if text is not None:
        text = _moved(text, _places_of(sample.target, places), set(places.values()), source, scale)
    try:
        target = move_places(sample.target, places, lambda numbers: _scaled(numbers, scale))
    except ValueError as error:
        raise BadSample(sample.where, f"the target's {error}") from None
    return replace(sample, target=target, demonstration=text, coordinates=name)


def agrees(sample: Sample) -> bool:
    """Whether a demonstration's answer holds one of the boxes or points of its target, or holds none at all.

    Points in a target's box count. Numbers may differ by one unit, as rounding makes them.
    """
    if sample.demonstration is None:
        return True
    places = {key: kind for key, kind in place_keys().items() if key in sample.target}
    if not places:
        return True
    targets = _places_of(sample.target, places)
    written = [place.numbers for place in places_in(sample.demonstration) if place.answered and not place.timed]
    named = _named(written, pointed=any(len(target) == 2 for target in targets))
    return not named or any(_same_place(numbers, target) for numbers in named for target in targets)


def _named(written: Sequence[list[float]], pointed: bool) -> list[list[float]]:
    """What an answer names: its boxes, two corners one after the other as one, or its points."""
    boxes = [numbers for numbers in written if len(numbers) == 4]
    points = [numbers for numbers in written if len(numbers) == 2]
    if pointed:
        return boxes + points
    if not boxes and points and len(points) % 2 == 0:
        return [[*first, *second] for first, second in zip(points[::2], points[1::2])]
    return boxes or points


def _same_place(written: Sequence[float], target: Sequence[float]) -> bool:
    if len(written) == len(target):
        return any(all(abs(a - b) <= 1 for a, b in zip(order, target)) for order in (written, _turn(written)))
    if len(written) == 2 and len(target) == 4:
        return target[0] - 1 <= written[0] <= target[2] + 1 and target[1] - 1 <= written[1] <= target[3] + 1
    return False


def _turn(numbers: Sequence[float]) -> list[float]:
    """With y before x, or back."""
    return [value for x, y in zip(numbers[::2], numbers[1::2]) for value in (y, x)]


def _places_of(target: Mapping[str, Any], places: Mapping[str, str]) -> list[list[float]]:
    """The boxes and points of a target, as lists of numbers; what holds none is left to `move_places` to refuse."""
    held: list[list[float]] = []

    def keep(numbers: Sequence[float]) -> list:
        held.append([float(number) for number in numbers])
        return list(numbers)

    with suppress(ValueError):
        move_places(target, places, keep)
    return held


def _moved(
    text: str, targets: Sequence[list[float]], kinds: set[str], size: tuple[int, int], scale: tuple[float, float]
) -> str:
    """A demonstration whose boxes and points are in another size; numbers that are neither stay.

    In the answer that is all that the rewards read as such. In the thinking before it, it is what a name, a mark or the
    target tells to be one, and lists of four that can be boxes of the picture.
    """
    written = [place for place in places_in(text) if not place.timed]
    boxed = any(len(place.numbers) == 4 for place in written if place.answered)
    chosen = []
    for place in written:
        told = place.keyed or place.numbers in targets
        if place.answered:
            # Beside boxes, pairs are mostly times.
            if len(place.numbers) == 4 or told or not boxed or "point" in kinds:
                chosen.append(place)
        elif told or (len(place.numbers) == 4 and _could_be(place.numbers, size)):
            chosen.append(place)

    def move(place: WrittenPlace) -> list[int]:
        if place.numbers not in targets and _turn(place.numbers) in targets:
            # Written with y first, as the target shows.
            return _scaled(place.numbers, (scale[1], scale[0]))
        return _scaled(place.numbers, scale)

    return moved(text, chosen, move)


def _could_be(box: Sequence[float], size: tuple[int, int]) -> bool:
    """Whether four numbers are a box inside a picture of this size, with sides that something to be seen has."""
    inside = all(-0.01 * side <= value <= 1.01 * side for value, side in zip(box, (*size, *size)))
    return inside and all(box[i + 2] - box[i] >= LEAST_SIDE * size[i] for i in (0, 1))


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
