"""Measures of sets of boxes: F1 of one image, COCO's average precision of a data set."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vision_rewards.metrics.boxes import match_boxes


class AveragePrecision(NamedTuple):
    """COCO's summary, each in [0, 1], or None where there is no target to find.

    Attributes:
        ap: mean over the thresholds of the call and over the labels.
        by_threshold: IoU threshold -> mean over the labels.
        by_label: label -> mean over the thresholds, for each label that has a target.
        recall: COCO's AR: mean over thresholds and labels of the highest recall.
    """

    ap: float | None
    by_threshold: Mapping[float, float | None]
    by_label: Mapping[Any, float]
    recall: float | None


def soft_f1(matched_iou: float, predicted: int, target: int) -> float:
    """2 · (total IoU of the matched pairs) / (predictions + targets), in [0, 1]; 1 where there is neither.

    The F1 score with a pair counted by its IoU. Misses, extra boxes and repeated boxes all count against it.
    """
    return 2.0 * matched_iou / (predicted + target) if predicted + target else 1.0


def detection_f1(predicted, target, *, predicted_labels=None, target_labels=None, threshold: float = 0.5) -> float:
    """F1 = 2 TP / (predictions + targets), TP the largest number of one-to-one pairs with IoU ≥ threshold; in [0, 1].

    1 where there is neither prediction nor target. Arguments as in `match_boxes`.
    """
    match = match_boxes(
        predicted,
        target,
        predicted_labels=predicted_labels,
        target_labels=target_labels,
        threshold=threshold,
    )
    return soft_f1(len(match.ious), len(np.reshape(predicted, (-1, 4))), len(np.reshape(target, (-1, 4))))


def average_precision(
    predictions: Sequence[Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
    *,
    thresholds: Sequence[float] | None = None,
    max_detections: int = 100,
) -> AveragePrecision:
    """COCO's average precision over a data set, computed by pycocotools.

    Per label and threshold: predictions in order of falling score, each matched greedily with the free target of the
    highest IoU; precision made monotone and averaged at 101 recall levels. Not a reward: with equal scores the order of
    the list decides, and wrong boxes after the right ones cost nothing.

    Args:
        predictions: one mapping per image: `boxes` [N, 4] as (x1, y1, x2, y2), `scores` [N], `labels` of length N
            (optional: one class). At equal scores the earlier one comes first.
        targets: one mapping per image, in the same order: `boxes` [M, 4], `labels` of length M where predictions have
            them, `crowd` of length M (optional): regions in which further predictions cost nothing.
        thresholds: IoU thresholds; None: 0.50 to 0.95 in steps of 0.05.
        max_detections: highest-scored predictions kept per image and label.

    The mean is over the labels that have targets: predictions of any other label cost nothing, as in COCO, and as in
    VLM-R1's reward.

    Raises:
        ValueError: other numbers of images, boxes, scores or labels than each other, or an area above 1e10, which COCO
            leaves out.
        ImportError: pycocotools is not installed.
    """
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} images with predictions but {len(targets)} with targets")
    annotations = [_rows(image, target, scored=False) for image, target in enumerate(targets, 1)]
    results = [_rows(image, names, scored=True) for image, names in enumerate(predictions, 1)]
    names = {row["label"] for rows in annotations for row in rows}
    labels = sorted(names, key=lambda label: (str(type(label)), label))
    if not labels:
        return AveragePrecision(None, {float(t): None for t in _thresholds(thresholds)}, {}, None)
    numbers = {label: number for number, label in enumerate(labels, 1)}
    precision_TRK, recall_TK = _evaluate(annotations, results, numbers, _thresholds(thresholds), max_detections)
    precision_TK = precision_TRK.mean(axis=1)
    by_threshold = {float(t): float(row.mean()) for t, row in zip(_thresholds(thresholds), precision_TK)}
    by_label = dict(zip(labels, precision_TK.mean(axis=0).tolist()))
    return AveragePrecision(float(precision_TK.mean()), by_threshold, by_label, float(recall_TK.mean()))


def _thresholds(thresholds: Sequence[float] | None) -> np.ndarray:
    # pycocotools' own expression, so that 0.55 is the same float.
    return np.linspace(0.5, 0.95, 10) if thresholds is None else np.asarray(thresholds, dtype=np.float64)


def _rows(image: int, item: Mapping[str, Any], *, scored: bool) -> list[dict[str, Any]]:
    boxes_N4 = np.asarray(item["boxes"], dtype=np.float64).reshape(-1, 4)
    count = len(boxes_N4)
    columns = {
        "label": item.get("labels", [0] * count),
        "score": item["scores"] if scored else [1.0] * count,
        "iscrowd": [0] * count if scored else item.get("crowd", [0] * count),
    }
    for name, column in columns.items():
        if len(column) != count:
            raise ValueError(f"image {image - 1}: {len(column)} values of {name!r} for {count} boxes")
    rows = []
    for index, (x1, y1, x2, y2) in enumerate(boxes_N4.tolist()):
        area = (x2 - x1) * (y2 - y1)
        if not 0 <= area <= 1e10:
            raise ValueError(f"image {image - 1}: box {[x1, y1, x2, y2]} has an area outside [0, 1e10]")
        values = {name: column[index] for name, column in columns.items()}
        rows.append({"image_id": image, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": area, **values})
    return rows


def _evaluate(annotations, results, numbers, thresholds, max_detections) -> tuple[np.ndarray, np.ndarray]:
    """pycocotools' precision [T, R, K] and recall [T, K] over the labels that have targets."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ImportError("average precision needs pycocotools: pip install pycocotools") from error

    def index(images):
        rows = [row for rows in images for row in rows if row["label"] in numbers]
        rows = [
            {**row, "id": number, "category_id": numbers[row["label"]], "iscrowd": int(row["iscrowd"])}
            for number, row in enumerate(rows, 1)
        ]
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(1, len(images) + 1)],
            "categories": [{"id": number} for number in numbers.values()],
            "annotations": rows,
        }
        coco.createIndex()
        return coco

    # pycocotools prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(index(annotations), index(results), "bbox")
        evaluation.params.iouThrs = thresholds
        evaluation.params.maxDets = [max_detections]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision_TRK = evaluation.eval["precision"][:, :, :, 0, 0]
    recall_TK = evaluation.eval["recall"][:, :, 0, 0]
    # -1 marks a label whose targets are all crowds.
    with_targets = recall_TK[0] > -1
    return precision_TRK[:, :, with_targets], recall_TK[:, with_targets]
