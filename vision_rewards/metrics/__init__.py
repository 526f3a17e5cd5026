"""Measures that rewards and evaluations share. Boxes are (x1, y1, x2, y2) in any one unit, intervals (start, end).

Each name loads its module at first use, so that a measure without numpy needs no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision_rewards.metrics.answers import jaccard, mean_relative_accuracy, relative_accuracy, relative_error
    from vision_rewards.metrics.boxes import (
        BoxMatch,
        aligned_box_iou,
        box_iou,
        center_in_box,
        distance_box_iou,
        generalized_box_iou,
        match_boxes,
        one_box_iou,
        points_in_boxes,
        recall_at_iou,
    )
    from vision_rewards.metrics.charts import relaxed_accuracy
    from vision_rewards.metrics.detection import AveragePrecision, average_precision, detection_f1, soft_f1
    from vision_rewards.metrics.formulas import formula_similarity
    from vision_rewards.metrics.intervals import (
        generalized_temporal_iou,
        interval_set_iou,
        interval_soft_f1,
        merge_intervals,
        temporal_iou,
    )
    from vision_rewards.metrics.masks import (
        cumulative_mask_iou,
        decode_runs,
        encode_runs,
        mask_iou,
        polygon_iou,
        rasterize_polygons,
    )
    from vision_rewards.metrics.orders import kendall_tau, pairwise_order_accuracy, position_accuracy
    from vision_rewards.metrics.overlap import bleu, corpus_bleu, rouge
    from vision_rewards.metrics.plots import picture_similarity, plot_code_similarity
    from vision_rewards.metrics.tables import teds, teds_pubtabnet
    from vision_rewards.metrics.text import (
        anls,
        anls_lmms_eval,
        character_error_rate,
        corpus_character_error_rate,
        corpus_word_error_rate,
        edit_distance,
        normalized_edit_similarity,
        ocrbench_accuracy,
        pooled_edit_distance,
        word_error_rate,
    )
    from vision_rewards.metrics.tracks import frame_ious, spatiotemporal_iou, temporal_frame_iou
    from vision_rewards.metrics.trees import tree_edit_distance
    from vision_rewards.metrics.vqa import vqa_accuracy, vqa_accuracy_official, vqa_normalize

__all__ = [
    "AveragePrecision",
    "BoxMatch",
    "aligned_box_iou",
    "anls",
    "anls_lmms_eval",
    "average_precision",
    "bleu",
    "box_iou",
    "center_in_box",
    "character_error_rate",
    "corpus_bleu",
    "corpus_character_error_rate",
    "corpus_word_error_rate",
    "cumulative_mask_iou",
    "decode_runs",
    "detection_f1",
    "distance_box_iou",
    "edit_distance",
    "encode_runs",
    "formula_similarity",
    "frame_ious",
    "generalized_box_iou",
    "generalized_temporal_iou",
    "interval_set_iou",
    "interval_soft_f1",
    "jaccard",
    "kendall_tau",
    "mask_iou",
    "match_boxes",
    "mean_relative_accuracy",
    "merge_intervals",
    "normalized_edit_similarity",
    "ocrbench_accuracy",
    "one_box_iou",
    "pairwise_order_accuracy",
    "picture_similarity",
    "plot_code_similarity",
    "points_in_boxes",
    "polygon_iou",
    "pooled_edit_distance",
    "position_accuracy",
    "rasterize_polygons",
    "recall_at_iou",
    "relative_accuracy",
    "relative_error",
    "relaxed_accuracy",
    "rouge",
    "soft_f1",
    "spatiotemporal_iou",
    "teds",
    "teds_pubtabnet",
    "temporal_frame_iou",
    "temporal_iou",
    "tree_edit_distance",
    "vqa_accuracy",
    "vqa_accuracy_official",
    "vqa_normalize",
    "word_error_rate",
]

_NAMES = {
    "answers": "jaccard mean_relative_accuracy relative_accuracy relative_error",
    "boxes": "BoxMatch aligned_box_iou box_iou center_in_box distance_box_iou generalized_box_iou match_boxes "
    "one_box_iou points_in_boxes recall_at_iou",
    "charts": "relaxed_accuracy",
    "detection": "AveragePrecision average_precision detection_f1 soft_f1",
    "formulas": "formula_similarity",
    "intervals": "generalized_temporal_iou interval_set_iou interval_soft_f1 merge_intervals temporal_iou",
    "masks": "cumulative_mask_iou decode_runs encode_runs mask_iou polygon_iou rasterize_polygons",
    "orders": "kendall_tau pairwise_order_accuracy position_accuracy",
    "overlap": "bleu corpus_bleu rouge",
    "plots": "picture_similarity plot_code_similarity",
    "tables": "teds teds_pubtabnet",
    "text": "anls anls_lmms_eval character_error_rate corpus_character_error_rate corpus_word_error_rate edit_distance "
    "normalized_edit_similarity ocrbench_accuracy pooled_edit_distance word_error_rate",
    "tracks": "frame_ious spatiotemporal_iou temporal_frame_iou",
    "trees": "tree_edit_distance",
    "vqa": "vqa_accuracy vqa_accuracy_official vqa_normalize",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
