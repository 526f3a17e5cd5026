"""Measures of masks and tubes against pycocotools, shapely's exact areas, enumeration and hand-derived values."""

import numpy as np
import pytest

from vision_rewards import metrics
from vision_rewards.parsers.masks import decode_counts


def random_masks(rng, count, height, width):
    return rng.random((count, height, width)) < rng.uniform(0.1, 0.9, (count, 1, 1))


def test_mask_iou_equals_counting_and_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    first, second = random_masks(rng, 4, 7, 11), random_masks(rng, 5, 7, 11)
    iou = metrics.mask_iou(first, second)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            shared = sum(bool(a and b) for a, b in zip(one.flat, other.flat))
            either = sum(bool(a or b) for a, b in zip(one.flat, other.flat))
            assert iou[i, j] == pytest.approx(shared / either, abs=1e-12)
    packed = [[coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks] for masks in (first, second)]
    np.testing.assert_allclose(iou, coco.iou(packed[0], packed[1], [0] * 5), atol=1e-12)


def test_empty_masks():
    empty, full = np.zeros((1, 3, 4), bool), np.ones((1, 3, 4), bool)
    assert metrics.mask_iou(empty, empty)[0, 0] == metrics.cumulative_mask_iou(empty, empty) == 1
    assert metrics.mask_iou(empty, full)[0, 0] == metrics.mask_iou(full, empty)[0, 0] == 0
    assert metrics.mask_iou(full[:0], full).shape == (0, 1)
    with pytest.raises(ValueError, match="cannot be compared"):
        metrics.mask_iou(empty, np.zeros((1, 4, 3), bool))
    with pytest.raises(ValueError, match="no pairs"):
        metrics.cumulative_mask_iou(empty, np.zeros((2, 3, 4), bool))


def test_cumulative_iou_weighs_by_size():
    predicted, target = np.zeros((2, 10, 10), bool), np.zeros((2, 10, 10), bool)
    predicted[0, :, :9], target[0] = True, True
    target[1, 0, 0] = True
    assert metrics.cumulative_mask_iou(predicted, target) == pytest.approx(90 / 101)
    assert np.diag(metrics.mask_iou(predicted, target)).mean() == pytest.approx(0.45)


def test_run_lengths_are_those_of_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    masks = [random_masks(rng, 1, *rng.integers(1, 30, 2))[0] for _ in range(200)]
    masks += [np.zeros((3, 5), bool), np.ones((3, 5), bool), np.arange(400).reshape(20, 20) == 399]
    wide = np.zeros((300, 400), bool)
    wide[::2] = True
    for mask in [*masks, wide]:
        packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        runs = decode_counts(packed["counts"].decode())
        assert runs == metrics.encode_runs(mask)
        np.testing.assert_array_equal(metrics.decode_runs(runs, *mask.shape), mask)


def test_runs_must_cover_the_image():
    np.testing.assert_array_equal(metrics.decode_runs([1, 2, 1], 2, 2), [[False, True], [True, False]])
    for runs in ([1, 2], [5], [-1, 5], [0, 0]):
        with pytest.raises(ValueError, match="do not cover"):
            metrics.decode_runs(runs, 2, 2)
    for text in ("\x00", "p", "P", "o" * 9):
        with pytest.raises(ValueError, match="run length"):
            decode_counts(text)


def rectangle(x1, y1, x2, y2):
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def test_polygons_on_the_pixel_grid():
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(2)
    for _ in range(50):
        (x1, x2), (y1, y2) = (sorted(rng.choice(12, 2, replace=False)) for _ in range(2))
        expected = np.zeros((12, 12), bool)
        expected[y1:y2, x1:x2] = True
        np.testing.assert_array_equal(metrics.rasterize_polygons([rectangle(x1, y1, x2, y2)], 12, 12), expected)
    union = metrics.rasterize_polygons([rectangle(0, 0, 4, 4), rectangle(2, 2, 6, 6)], 12, 12)
    assert union.sum() == 28


def test_polygon_iou_equals_that_of_boxes():
    pytest.importorskip("shapely")
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 50, (20, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    expected = metrics.box_iou(boxes[:10], boxes[10:])
    for i, first in enumerate(boxes[:10]):
        for j, second in enumerate(boxes[10:]):
            assert metrics.polygon_iou([rectangle(*first)], [rectangle(*second)]) == pytest.approx(
                expected[i, j], abs=1e-9
            )


def test_polygon_iou_of_other_shapes():
    pytest.importorskip("shapely")
    square = [rectangle(0, 0, 2, 2)]
    assert metrics.polygon_iou([[0, 0, 2, 0, 0, 2]], square) == pytest.approx(1 / 2, abs=1e-9)
    # A bow tie covers two triangles of area ½ each.
    assert metrics.polygon_iou([[0, 0, 1, 2, 1, 0, 0, 2]], square) == pytest.approx(1 / 4, abs=1e-9)
    # A pentagram covers its points but not its middle, which it winds around twice.
    corners = [(np.cos(4 * np.pi * k / 5), np.sin(4 * np.pi * k / 5)) for k in range(5)]
    outer = 5 / 2 * np.sin(2 * np.pi / 5)
    star = [coordinate for corner in corners for coordinate in corner]
    hull = [c for k in range(5) for c in (np.cos(2 * np.pi * k / 5), np.sin(2 * np.pi * k / 5))]
    inner = 5 / 2 * np.sin(2 * np.pi / 5) * (3 - 5**0.5) ** 2 / 4
    # The shoelace formula counts the arms once and the middle twice.
    arms = 5 / 2 * np.sin(4 * np.pi / 5) - 2 * inner
    assert metrics.polygon_iou([star], [hull]) == pytest.approx(arms / outer, abs=1e-9)
    # Rasterised finely, the same shapes give nearly the same.
    fine = [metrics.rasterize_polygons([(np.array(shape) * 200 + 200).tolist()], 400, 400) for shape in (star, hull)]
    assert metrics.mask_iou(fine[:1], fine[1:])[0, 0] == pytest.approx(arms / outer, abs=0.02)
    assert metrics.polygon_iou([rectangle(0, 0, 4, 4), rectangle(2, 2, 6, 6)], [rectangle(0, 0, 6, 6)]) == 28 / 36


def test_frames_of_a_track():
    target = {1.0: [0, 0, 10, 10], 2.0: [0, 0, 10, 10], 3.0: [0, 0, 10, 10], 4.0: [0, 0, 10, 10]}
    predicted = {2.0: [0, 0, 10, 5], 1.0: [0, 0, 10, 10], 9.0: [0, 0, 10, 10]}
    np.testing.assert_allclose(metrics.frame_ious(predicted, target), [1, 0.5, 0, 0])
    assert metrics.spatiotemporal_iou(predicted, target) == pytest.approx(1.5 / 5)
    assert metrics.temporal_frame_iou(predicted, target) == pytest.approx(2 / 5)
    assert metrics.spatiotemporal_iou({}, {}) == metrics.temporal_frame_iou({}, {}) == 0
    assert metrics.spatiotemporal_iou({}, target) == 0
    assert metrics.frame_ious({}, target).tolist() == [0, 0, 0, 0]


def tube(rng, start, end):
    corners = {frame: rng.uniform(0, 20, 2) for frame in range(start, end)}
    return {frame: [*corner, *(corner + rng.uniform(5, 15, 2))] for frame, corner in corners.items()}


def test_tubes_as_the_papers_define_them():
    """vIoU = 1/|S_u| Σ_{t ∈ S_i} IoU(t) over the frames of the two segments, written out from their ends."""
    rng = np.random.default_rng(4)
    for _ in range(100):
        (s1, e1), (s2, e2) = (sorted(rng.choice(30, 2, replace=False).tolist()) for _ in range(2))
        predicted, target = tube(rng, s1, e1), tube(rng, s2, e2)
        shared = range(max(s1, s2), min(e1, e2))
        union = (e1 - s1) + (e2 - s2) - len(shared)
        total = sum(metrics.box_iou([predicted[t]], [target[t]])[0, 0] for t in shared)
        assert metrics.spatiotemporal_iou(predicted, target) == pytest.approx(total / union, abs=1e-9)
        assert metrics.temporal_frame_iou(predicted, target) == pytest.approx(len(shared) / union, abs=1e-9)
