"""Measures of one object's boxes over the frames of a video: a mapping from frame number or time stamp to a box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vision_rewards.metrics.boxes import aligned_box_iou

Boxes = Mapping[float, Sequence[float]]


def frame_ious(predicted: Boxes, target: Boxes) -> np.ndarray:
    """IoU at every frame of the target, in the order of its keys, 0 where there is no prediction: float64 [F].

    Its mean is single-object tracking's average overlap over all frames, `(ious >= t).mean()` the success rate at t
    (GOT-10k, which leaves out the first frame), its mean over the true frames VidSTG's `gt_vIoU`. EasyVideoR1 takes the
    mean over frames that both sides have: one tracked frame of many can score 1 there.
    """
    common = [frame for frame in target if frame in predicted]
    ious = dict(zip(common, aligned_box_iou([predicted[f] for f in common], [target[f] for f in common])))
    return np.array([ious.get(frame, 0.0) for frame in target], dtype=np.float64)


def spatiotemporal_iou(predicted: Boxes, target: Boxes) -> float:
    """vIoU = Σ IoU over common frames / number of frames in either (VidSTG, Zhang et al. 2020); 0 without frames.

    TubeDETR's evaluator, used for VidSTG and HC-STVG, counts all sampled frames from the earlier start to the later end
    as the union, which is the same for tubes without gaps that overlap.
    """
    either = len(set(predicted) | set(target))
    return float(frame_ious(predicted, target).sum() / either) if either else 0.0


def temporal_frame_iou(predicted: Boxes, target: Boxes) -> float:
    """tIoU of two tubes counted in frames: frames in both / frames in either; 0 without frames."""
    either = len(set(predicted) | set(target))
    return len(set(predicted) & set(target)) / either if either else 0.0
