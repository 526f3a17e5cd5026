"""Boxes from the coordinates of a policy back to ones that a row of a dataset can name."""

from __future__ import annotations

import re
from dataclasses import replace

from mmrl.contracts.types import Sample
from mmrl.policies.boxes import Canvas, localise

_SIZE = re.compile(r"(\d+)x(\d+)")


def as_thousandths(sample: Sample) -> Sample:
    """A sample whose boxes, in target and demonstration, are in pixels of what a policy saw, in thousandths of it.

    One in coordinates that a row can name is given back as it is.
    """
    size = _SIZE.fullmatch(sample.coordinates)
    if size is None:
        return sample
    canvas = Canvas((int(size[1]), int(size[2])), (int(size[1]), int(size[2])))
    images, videos = [canvas] * len(sample.images), [canvas] * len(sample.videos)
    return localise(replace(sample, coordinates="pixel"), "norm1000", images, videos)


def in_own_places(sample: Sample, local: Sample, text: str) -> tuple[Sample, str]:
    """(the sample, an answer) in coordinates that a row can name: the dataset's own, or thousandths of the sides.

    Args:
        local: the sample as the policy sees it, in whose coordinates `text` is.
    """
    if local.target == sample.target:
        return sample, text
    moved = as_thousandths(replace(local, demonstration=text))
    return moved, moved.demonstration or ""
