"""Boxes from the coordinates of a policy back to ones that a row of a dataset can name."""

from __future__ import annotations

from dataclasses import replace

from mmrl.contracts.coordinates import seen_size
from mmrl.contracts.types import Sample
from mmrl.policies.boxes import Canvas, localise


def as_thousandths(sample: Sample) -> Sample:
    """A sample whose boxes, in target and demonstration, are in pixels of what a policy saw, in thousandths of it.

    One in coordinates that a row can name is given back as it is.
    """
    size = seen_size(sample.coordinates)
    if size is None:
        return sample
    canvas = Canvas(size, size)
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
