"""The measures against published tables and against formulas written another way."""

import random

import numpy as np
import pytest

from vision_rewards import metrics

# torchvision's table for box_iou and generalized_box_iou (test_ops.py, integer boxes).
BOXES = [[0, 0, 100, 100], [0, 0, 50, 50], [200, 200, 300, 300], [0, 0, 25, 25]]
GIOU = [
    [1.0, 0.25, -0.7778],
    [0.25, 1.0, -0.8611],
    [-0.7778, -0.8611, 1.0],
    [0.0625, 0.25, -0.8819],
]
IOU = [[1.0, 0.25, 0.0], [0.25, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0625, 0.25, 0.0]]


def cells(box):
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


def slow_edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def test_published_box_tables():
    np.testing.assert_allclose(metrics.generalized_box_iou(BOXES, BOXES[:3]), GIOU, atol=5e-5)
    np.testing.assert_allclose(metrics.box_iou(BOXES, BOXES[:3]), IOU, atol=5e-5)


def test_boxes_equal_counting_unit_cells():
    rng = random.Random(0)
    boxes = []
    while len(boxes) < 40:
        x, y = rng.randrange(20), rng.randrange(20)
        boxes.append([x, y, x + rng.randrange(1, 15), y + rng.randrange(1, 15)])
    iou, giou = metrics.box_iou(boxes[:20], boxes[20:]), metrics.generalized_box_iou(boxes[:20], boxes[20:])
    for i, first in enumerate(boxes[:20]):
        for j, second in enumerate(boxes[20:]):
            a, b = cells(first), cells(second)
            hull = cells([*map(min, first[:2], second[:2]), *map(max, first[2:], second[2:])])
            expected = len(a & b) / len(a | b)
            assert iou[i, j] == pytest.approx(expected, abs=1e-12)
            assert giou[i, j] == pytest.approx(expected - len(hull - (a | b)) / len(hull), abs=1e-12)


def test_boxes_without_area_have_no_overlap():
    bad = [[5, 5, 5, 5], [8, 2, 2, 8], [9, 9, 1, 1], [0, 0, 0, 10]]
    with np.errstate(all="raise"):
        assert not metrics.box_iou(bad, [*bad, [0, 0, 10, 10]]).any()
        assert np.isfinite(metrics.generalized_box_iou(bad, bad)).all()
    assert metrics.box_iou([], [[0, 0, 1, 1]]).shape == (0, 1)


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [
        ((0, 10), (0, 10), 1),
        ((0, 10), (5, 15), 1 / 3),
        ((0, 10), (2, 4), 1 / 5),
        ((0, 10), (10, 20), 0),
        ((0, 1), (50, 60), 0),
        ((10, 0), (0, 10), 0),
        ((5, 5), (5, 5), 0),
        ((float("nan"), 1), (0, 1), 0),
    ],
)
def test_temporal_iou(first, second, iou):
    assert metrics.temporal_iou(first, second) == pytest.approx(iou)


def test_edit_distance_equals_the_table_method():
    rng = random.Random(1)
    for _ in range(200):
        a, b = ("".join(rng.choices("ab é", k=rng.randrange(12))) for _ in range(2))
        distance = slow_edit_distance(a, b)
        assert metrics.edit_distance(a, b) == distance
        longest = max(len(a), len(b))
        expected = 1 - distance / longest if longest else 1
        assert metrics.normalized_edit_similarity(a, b) == pytest.approx(expected)
        words = slow_edit_distance(a.split(), b.split())
        if b.split():
            assert metrics.word_error_rate(a, b) == pytest.approx(words / len(b.split()))


def test_error_rates():
    assert metrics.edit_distance("kitten", "sitting") == 3
    assert metrics.word_error_rate("the cat sat", "the cat sat down") == 1 / 4
    assert metrics.word_error_rate("a b c d", "z") == 4
    assert metrics.word_error_rate("", "") == metrics.character_error_rate("", "") == 0
    assert metrics.word_error_rate("x", "") == metrics.character_error_rate("x", "") == 1
    assert metrics.character_error_rate("abd", "abc") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("prediction", "score"),
    # The worked examples of the metric's definition, against "Coca Cola" and "Coca Cola Company".
    [("The Coca", 0), ("CocaCola", 8 / 9), ("Coca cola", 1), ("  coca   COLA ", 1), ("Cola", 0), ("Cat", 0), ("", 0)],
)
def test_anls(prediction, score):
    assert metrics.anls(prediction, ["Coca Cola", "Coca Cola Company"]) == pytest.approx(score)


def test_anls_threshold_is_strict_unless_asked():
    assert metrics.anls("ab", ["ac"]) == 0
    assert metrics.anls("ab", ["ac"], inclusive=True) == 0.5
    assert metrics.anls("tokyo" + " " * 30, ["paris"]) == 0
    assert metrics.anls("", [""]) == 0
    assert metrics.anls("x", []) == 0
