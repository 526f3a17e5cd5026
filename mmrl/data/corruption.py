"""Samples whose pictures are taken away, whole or in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from mmrl.contracts.types import Sample
from mmrl.data.media import load_image

GREY = (127, 127, 127)
# Left, top, right, bottom in pixels.
Box = tuple[float, float, float, float]


def without_media(sample: Sample) -> Sample:
    """The sample without its pictures and videos, and without their places in the question."""
    messages = []
    for message in sample.messages:
        content = [part for part in message["content"] if part["type"] == "text"]
        messages.append({**message, "content": content})
    return replace(sample, messages=tuple(messages), images=(), videos=())


def greyed(sample: Sample) -> Sample:
    """Every picture grey, of its own size."""
    sizes = [load_image(picture, sample.root, sample.where).size for picture in sample.images]
    return replace(sample, images=tuple(Image.new("RGB", size, GREY) for size in sizes))


def masked(sample: Sample, boxes: Sequence[Box]) -> Sample:
    """The first picture with grey boxes, in pixels of it."""
    picture = load_image(sample.images[0], sample.root, sample.where).copy()
    for left, top, right, bottom in boxes:
        picture.paste(GREY, (round(left), round(top), round(right), round(bottom)))
    return replace(sample, images=(picture, *sample.images[1:]))
