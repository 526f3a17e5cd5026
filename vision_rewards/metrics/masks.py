"""Measures of masks, and masks from COCO's run lengths and polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mask_iou(first, second) -> np.ndarray:
    """IoU of every pair of masks: float64 [N, M] from bool [N, H, W] and [M, H, W].

    Two empty masks have IoU 1, an empty and another 0, as in DAVIS' region similarity J and in LISA, whose gIoU is the
    mean of it. pycocotools gives 0 for two empty ones, and divides by the prediction alone where the target is a crowd.

    Raises:
        ValueError: masks of different sizes.
    """
    shared_NM, union_NM = _counts(first, second)
    return np.where(union_NM > 0, shared_NM / np.where(union_NM > 0, union_NM, 1), 1.0)


def cumulative_mask_iou(predicted, target) -> float:
    """cIoU: Σ intersections / Σ unions over N pairs of masks, bool [N, H, W] twice; 1 where all are empty.

    The second measure of LISA and of referring segmentation (overall IoU); large objects weigh more than in the mean.

    Raises:
        ValueError: masks of different sizes.
    """
    predicted, target = _flat(predicted), _flat(target)
    if predicted.shape != target.shape:
        raise ValueError(f"masks of shapes {predicted.shape} and {target.shape} (flattened) are no pairs")
    union = int((predicted | target).sum())
    return float((predicted & target).sum() / union) if union else 1.0


def polygon_iou(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """Exact IoU of two shapes by shapely, each the union of a list of polygons (x, y, x, y, …); 0 without any area.

    A polygon that crosses itself covers what it winds around an odd number of times. Differs from `mask_iou` of the
    rasterised shapes by the pixels that the outlines cut.

    Raises:
        ValueError: a polygon with less than 3 vertices.
        ImportError: shapely is not installed.
    """
    try:
        from shapely import make_valid, union_all
        from shapely.geometry import Polygon
    except ImportError as error:
        raise ImportError("polygon IoU needs shapely: pip install shapely") from error

    def shape(polygons):
        return union_all([make_valid(Polygon(np.reshape(polygon, (-1, 2)))) for polygon in polygons])

    first_shape, second_shape = shape(first), shape(second)
    union = first_shape.union(second_shape).area
    return first_shape.intersection(second_shape).area / union if union else 0.0


def decode_runs(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """The mask, bool [height, width], of run lengths in column order that start with background.

    Raises:
        ValueError: a negative run, or runs that do not add up to height × width.
    """
    lengths = np.asarray(runs, dtype=np.int64)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(f"{len(lengths)} runs do not cover {height} × {width} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def encode_runs(mask) -> list[int]:
    """The run lengths of a mask [height, width] in column order, starting with background (0 where there is none)."""
    flat = np.asarray(mask, dtype=bool).T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges, [len(flat)]]) if len(flat) else np.zeros(1, dtype=np.int64)
    runs = np.diff(starts).tolist()
    return [0, *runs] if len(flat) and flat[0] else runs


def rasterize_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
    """The mask, bool [height, width], of the union of polygons (x, y, x, y, …), by COCO's rule (pycocotools).

    The caller bounds the outline: pycocotools' memory grows with its length in pixels.

    Raises:
        ImportError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise ImportError("polygons as masks need pycocotools: pip install pycocotools") from error
    parts = coco.frPyObjects([list(map(float, polygon)) for polygon in polygons], height, width)
    return coco.decode(coco.merge(parts)).astype(bool)


def _flat(masks) -> np.ndarray:
    masks = np.asarray(masks, dtype=bool)
    return masks.reshape(len(masks), int(np.prod(masks.shape[1:])))


def _counts(first, second) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(f"masks of {first.shape[1:]} and {second.shape[1:]} pixels cannot be compared")
    first, second = _flat(first), _flat(second)
    shared_NM = np.array([[np.count_nonzero(mask & other) for other in second] for mask in first], dtype=np.int64)
    shared_NM = shared_NM.reshape(len(first), len(second))
    union_NM = np.count_nonzero(first, axis=1)[:, None] + np.count_nonzero(second, axis=1)[None, :] - shared_NM
    return shared_NM, union_NM
