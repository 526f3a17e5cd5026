"""Measures of boxes and detections against other libraries, enumeration and hand-derived values."""

import contextlib
import io
import itertools
import math

import numpy as np
import pytest

from vision_rewards import metrics


def random_boxes(rng, count, size=100.0):
    corners = rng.uniform(0, size, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(1, size / 2, (count, 2))], axis=1)


def test_iou_equals_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    first, second = random_boxes(rng, 40), random_boxes(rng, 30)
    sizes = [np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1) for boxes in (first, second)]
    iou = metrics.box_iou(first, second)
    np.testing.assert_allclose(iou, coco.iou(sizes[0], sizes[1], [0] * len(second)), atol=1e-12)
    np.testing.assert_array_equal(metrics.aligned_box_iou(first[:30], second), np.diag(iou))


def test_diou_equals_its_formula():
    rng = np.random.default_rng(5)
    first, second = random_boxes(rng, 12).tolist(), random_boxes(rng, 12).tolist()
    diou, iou = metrics.distance_box_iou(first, second), metrics.box_iou(first, second)
    for i, (ax1, ay1, ax2, ay2) in enumerate(first):
        for j, (bx1, by1, bx2, by2) in enumerate(second):
            rho = math.dist(((ax1 + ax2) / 2, (ay1 + ay2) / 2), ((bx1 + bx2) / 2, (by1 + by2) / 2))
            diagonal = math.dist((min(ax1, bx1), min(ay1, by1)), (max(ax2, bx2), max(ay2, by2)))
            assert diou[i, j] == pytest.approx(iou[i, j] - (rho / diagonal) ** 2, abs=1e-12)


@pytest.mark.parametrize(
    ("box", "diou"),
    [
        ([0, 0, 10, 10], 1),
        # Centres 10 apart, hull 20 × 10.
        ([10, 0, 20, 10], -100 / 500),
        # Centres (5, 5) apart, hull 15 × 15, 25 of 175 shared.
        ([5, 5, 15, 15], 1 / 7 - 50 / 450),
        # The same centre: no distance to take off.
        ([2.5, 2.5, 7.5, 7.5], 1 / 4),
        ([90, 0, 100, 10], -8100 / 10100),
    ],
)
def test_diou(box, diou):
    assert metrics.distance_box_iou([box], [[0, 0, 10, 10]])[0, 0] == pytest.approx(diou, abs=1e-12)


def test_centres_and_points():
    target = [[0, 0, 10, 10]] * 5
    predicted = [[0, 0, 10, 10], [5, 5, 15, 15], [6, 6, 16, 16], [-10, -10, 10, 10], [10, 10, 0, 0]]
    assert metrics.center_in_box(predicted, target).tolist() == [True, True, False, True, False]
    # A line and a point have a centre, and are not flipped.
    flat = [[2, 5, 8, 5], [5, 2, 5, 8], [10, 10, 10, 10], [8, 5, 2, 5], [11, 5, 11, 5]]
    assert metrics.center_in_box(flat, target).tolist() == [True, True, True, False, False]
    points = [[0, 0], [10, 10], [10.001, 5], [5, -1], [5, 5]]
    assert metrics.points_in_boxes(points, target).tolist() == [True, True, False, False, True]


def best_total(gain):
    """The largest total over all one-to-one matchings, by trying every one."""
    gain = gain if gain.shape[0] <= gain.shape[1] else gain.T
    rows = range(gain.shape[0])
    return max(
        sum(gain[r, c] for r, c in zip(rows, columns))
        for columns in itertools.permutations(range(gain.shape[1]), len(rows))
    )


def test_matching_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(100):
        counts = rng.integers(1, 6, 2)
        first, second = (random_boxes(rng, count, 20.0) for count in counts)
        labels = [rng.integers(0, 2, count).tolist() for count in counts]
        iou = metrics.box_iou(first, second)
        match = metrics.match_boxes(first, second)
        assert match.ious.sum() == pytest.approx(best_total(iou))
        assert len(set(match.pairs[:, 0])) == len(set(match.pairs[:, 1])) == len(match.pairs)
        np.testing.assert_array_equal(match.ious, iou[match.pairs[:, 0], match.pairs[:, 1]])
        same = np.equal.outer(labels[0], labels[1])
        labelled = metrics.match_boxes(first, second, predicted_labels=labels[0], target_labels=labels[1])
        assert labelled.ious.sum() == pytest.approx(best_total(iou * same))
        hits = metrics.match_boxes(first, second, threshold=0.3)
        assert len(hits.ious) == best_total((iou >= 0.3).astype(float))
        assert (hits.ious >= 0.3).all()


def test_matching_counts_pairs_before_overlap():
    # One target is claimed best by the box that alone can have the other.
    predicted, target = [[0, 0, 10, 10], [0, 0, 10, 30]], [[0, 0, 10, 10], [0, 0, 10, 16]]
    iou = metrics.box_iou(predicted, target)
    np.testing.assert_allclose(iou, [[1, 10 / 16], [1 / 3, 16 / 30]])
    assert metrics.match_boxes(predicted, target, threshold=0.5).pairs.tolist() == [[0, 0], [1, 1]]
    assert metrics.match_boxes(predicted[:1], target, threshold=0.5).pairs.tolist() == [[0, 0]]
    assert metrics.match_boxes(predicted[::-1], target, threshold=0.6).pairs.tolist() == [[1, 0]]


def test_two_pairs_go_before_one_of_more_overlap():
    """The first prediction is one target and covers the other too; the second one has that target alone."""
    predicted, target = [[0, 0, 10, 10], [0, 0, 4, 10]], [[0, 0, 10, 10], [6, 0, 10, 10]]
    np.testing.assert_allclose(metrics.box_iou(predicted, target), [[1, 0.4], [0.4, 0]])
    assert metrics.match_boxes(predicted, target, threshold=0.3).pairs.tolist() == [[0, 1], [1, 0]]
    assert metrics.match_boxes(predicted, target).pairs.tolist() == [[0, 0]], "without a threshold the total decides"
    assert metrics.detection_f1(predicted, target, threshold=0.3) == 2 * 2 / 4
    assert metrics.detection_f1(predicted, target, threshold=0.5) == 2 * 1 / 4


def test_matching_of_nothing_and_of_bad_input():
    assert metrics.match_boxes([], [[0, 0, 1, 1]]).pairs.shape == (0, 2)
    assert metrics.match_boxes([[5, 5, 6, 6]], [[0, 0, 1, 1]]).ious.shape == (0,)
    assert (
        metrics.match_boxes([[0, 0, 1, 1]], [[0, 0, 1, 1]], predicted_labels=[None], target_labels=["a"]).ious.size == 0
    )
    with pytest.raises(ValueError, match="finite"):
        metrics.match_boxes([[0, 0, float("nan"), 1]], [[0, 0, 1, 1]])
    with pytest.raises(ValueError, match="both sides"):
        metrics.match_boxes([[0, 0, 1, 1]], [[0, 0, 1, 1]], predicted_labels=["a"])
    with pytest.raises(ValueError, match="labels for"):
        metrics.match_boxes([[0, 0, 1, 1]], [[0, 0, 1, 1]], predicted_labels=["a", "b"], target_labels=["a"])


def test_f1():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    assert metrics.detection_f1(boxes, boxes) == 1
    assert metrics.detection_f1(boxes[:1], boxes) == pytest.approx(2 * 1 / 4)
    assert metrics.detection_f1(boxes * 2, boxes) == pytest.approx(2 * 3 / 9)
    assert metrics.detection_f1([[0, 0, 10, 4.9]], boxes[:1]) == 0
    assert metrics.detection_f1([], []) == 1
    assert metrics.detection_f1([], boxes) == metrics.detection_f1(boxes, []) == 0
    assert metrics.soft_f1(1.5, 2, 2) == pytest.approx(0.75)


def test_recall_at_iou():
    ious = [[0.2, 0.9], [0.5, 0.1], [0.7, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(metrics.recall_at_iou(ious, (0.3, 0.5, 0.7)), [0.5, 0.5, 0.25])
    np.testing.assert_allclose(metrics.recall_at_iou(ious, (0.3, 0.5, 0.9), first=2), [0.75, 0.75, 0.25])
    np.testing.assert_allclose(metrics.recall_at_iou([0.5, 0.49]), [1, 0.5, 0])
    with pytest.raises(ValueError, match="needs a query"):
        metrics.recall_at_iou([])


RIGHT, WRONG = [0, 0, 10, 10], [50, 50, 60, 60]


def one_image(boxes, targets, **values):
    scores = values.pop("scores", [1.0] * len(boxes))
    return metrics.average_precision([{"boxes": boxes, "scores": scores}], [{"boxes": targets}], **values)


@pytest.mark.parametrize(
    ("boxes", "targets", "ap"),
    [
        ([RIGHT], [RIGHT], 1.0),
        # Equal scores: the order of the list decides, and wrong boxes behind the right one are free.
        ([RIGHT] + [WRONG] * 50, [RIGHT], 1.0),
        ([WRONG, RIGHT], [RIGHT], 0.5),
        ([RIGHT] * 30, [RIGHT], 1.0),
        ([WRONG] * 100 + [RIGHT], [RIGHT], 0.0),
        # 51 of the 101 recall levels, 0 to 0.5.
        ([RIGHT], [RIGHT, WRONG], 51 / 101),
        ([WRONG], [RIGHT], 0.0),
        ([], [RIGHT], 0.0),
        # IoU of exactly a half counts at 0.5 only.
        ([[0, 0, 10, 5]], [RIGHT], 0.1),
        ([RIGHT], [], None),
    ],
)
def test_average_precision(boxes, targets, ap):
    pytest.importorskip("pycocotools")
    found = one_image(boxes, targets).ap
    assert found == (None if ap is None else pytest.approx(ap, abs=1e-12))


def slow_average_precision(images, threshold):
    """101-point AP of one label, written out: images are (boxes, scores, targets)."""
    ranked = sorted(
        ((score, number, box) for number, (boxes, scores, _) in enumerate(images) for box, score in zip(boxes, scores)),
        key=lambda item: -item[0],
    )
    free = [list(targets) for _, _, targets in images]
    total, hits, curve = sum(map(len, free)), 0, []
    for rank, (_, number, box) in enumerate(ranked, 1):
        ious = metrics.box_iou([box], free[number])[0]
        if len(ious) and ious.max() >= threshold:
            free[number].pop(int(ious.argmax()))
            hits += 1
        curve.append((hits / total, hits / rank))
    levels = np.linspace(0, 1, 101)
    return np.mean(
        [max((precision for recall, precision in curve if recall >= level), default=0.0) for level in levels]
    )


def noisy_images(rng, count):
    images = []
    for _ in range(count):
        targets = random_boxes(rng, rng.integers(1, 6))
        boxes = np.concatenate([targets + rng.normal(0, 3, targets.shape), random_boxes(rng, 3)])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.5)
        images.append((boxes, rng.uniform(size=len(boxes)), targets))
    return images


def test_average_precision_equals_its_definition():
    pytest.importorskip("pycocotools")
    images = noisy_images(np.random.default_rng(2), 8)
    predictions = [{"boxes": boxes, "scores": scores} for boxes, scores, _ in images]
    result = metrics.average_precision(predictions, [{"boxes": targets} for _, _, targets in images])
    for threshold, value in result.by_threshold.items():
        assert value == pytest.approx(slow_average_precision(images, threshold), abs=1e-9)
    assert result.ap == pytest.approx(np.mean(list(result.by_threshold.values())))
    assert 0.1 < result.ap < 0.9


def test_average_precision_equals_pycocotools_own_summary():
    """COCO's summary of the same data, with labels and crowds, as a user of pycocotools calls it."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    predictions, targets = [], []
    for boxes, scores, wanted in noisy_images(rng, 6):
        predictions.append({"boxes": boxes, "scores": scores, "labels": rng.integers(0, 3, len(boxes)).tolist()})
        labels = rng.integers(0, 3, len(wanted)).tolist()
        targets.append({"boxes": wanted, "labels": labels, "crowd": rng.integers(0, 5, len(wanted)) == 0})

    def sized(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    rows = [
        {
            "image_id": i,
            "category_id": label + 1,
            "bbox": sized(box),
            "area": sized(box)[2] * sized(box)[3],
            "iscrowd": int(crowd),
        }
        for i, target in enumerate(targets)
        for box, label, crowd in zip(target["boxes"], target["labels"], target["crowd"])
    ]
    found = [
        {"image_id": i, "category_id": label + 1, "bbox": sized(box), "score": score}
        for i, item in enumerate(predictions)
        for box, label, score in zip(item["boxes"], item["labels"], item["scores"])
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(6)],
            "categories": [{"id": label + 1} for label in range(3)],
            "annotations": [row | {"id": number} for number, row in enumerate(rows, 1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    result = metrics.average_precision(predictions, targets)
    summary = [result.ap, result.by_threshold[0.5], result.by_threshold[0.75], result.recall]
    np.testing.assert_allclose(summary, evaluation.stats[[0, 1, 2, 8]], atol=1e-9)
    assert set(result.by_label) == {0, 1, 2}


def test_labels_of_several_types_have_a_figure_each():
    """All of 1, half of "cat" (51 of the 101 recall levels), and none of 2."""
    pytest.importorskip("pycocotools")
    predictions = [{"boxes": [RIGHT, RIGHT], "scores": [1.0, 1.0], "labels": [1, "cat"]}]
    targets = [{"boxes": [RIGHT, RIGHT, WRONG, WRONG], "labels": [1, "cat", "cat", 2]}]
    found = metrics.average_precision(predictions, targets).by_label
    assert found == {1: pytest.approx(1.0), "cat": pytest.approx(51 / 101), 2: pytest.approx(0.0)}


def test_average_precision_names_what_is_wrong():
    pytest.importorskip("pycocotools")
    with pytest.raises(ValueError, match="1 images with predictions but 0"):
        metrics.average_precision([{"boxes": [], "scores": []}], [])
    with pytest.raises(ValueError, match="image 0: 0 values of 'score' for 1 boxes"):
        one_image([RIGHT], [RIGHT], scores=[])
    with pytest.raises(ValueError, match="area outside"):
        one_image([[0, 0, 1e6, 1e6]], [RIGHT])


def test_recall_has_the_thresholds_of_temporal_grounding():
    """R1@0.3, 0.5 and 0.7, as Charades-STA's."""
    assert metrics.recall_at_iou([0.35, 0.55, 0.75, 0.1]).tolist() == [0.75, 0.5, 0.25]


def test_boxes_that_do_not_meet_are_no_pair_at_any_threshold():
    for threshold in (None, 0.0):
        assert len(metrics.match_boxes([[0, 0, 1, 1]], [[5, 5, 6, 6]], threshold=threshold).pairs) == 0
