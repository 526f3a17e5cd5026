"""One object's boxes and when it acts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import MAX_ANSWER, is_interval, parse_track
from vision_rewards.plain import Plain, interval_of, structure_of, track_of
from vision_rewards.rewards.tracking import check_track, frame_key, track_boxes, write_track
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_BOX = [0, 0, 10, 10]
_TUBE = {"time": [2, 6], "track": {"2": _BOX, "3": _BOX, "4": _BOX, "5": _BOX}}


@dataclass(frozen=True, kw_only=True)
class SpatiotemporalIou(AnswerReward):
    """vIoU of a tube of boxes, alone or together with the IoU of the stated interval."""

    name = "spatiotemporal_iou"
    summary = "Overlap in space and time of a tube of boxes (vIoU, tIoU)."
    target_keys: ClassVar = {
        "track": "frame number or time stamp → [x1, y1, x2, y2], the frames in which the sentence holds",
        "time?": "[start, end] in seconds, 0 ≤ start < end; needed by metric=mean",
    }
    places: ClassVar = {"track": "track"}
    formula = (
        "viou: Σ IoU over common frames / number of frames of the target or the answer; "
        "mean: (tIoU + vIoU) / 2, tIoU of the stated intervals; "
        "part `tiou`: of the stated intervals where the target has `time`, else common frames / frames of either"
    )
    source = "vIoU and tIoU: VidSTG (Zhang et al. 2020), HC-STVG (Tang et al. 2021); mean: EasyVideoR1, over all frames"
    closes = (
        "one right box of many scores 1 / frames, not the ½ that EasyVideoR1's mean over common frames pays",
        "a tube over the whole video loses by every frame outside the target's",
        "a reversed or empty interval earns 0, and intervals are not widened to their hull",
    )
    tasks = (
        "spatiotemporal iou",
        "spatial temporal grounding",
        "spatiotemporal grounding",
        "spatio temporal grounding",
        "stvg",
        "spatio temporal video grounding",
    )
    plain = (
        Plain(
            "the boxes by frame and, where known, the interval, as mapping or JSON text",
            {"time": [2, 6], "boxes": {"2": [0, 0, 10, 10], "3": [0, 0, 10, 10]}},
        ),
    )
    examples = (
        (_TUBE, json.dumps({"time": [2, 6], "boxes": _TUBE["track"]}), "the whole tube"),
        (_TUBE, '{"time": [2, 6], "boxes": {"2": [0, 0, 10, 10]}}', "one right box of four"),
        (_TUBE, json.dumps({"boxes": {str(f): _BOX for f in range(8)}}), "twice as many frames"),
        (_TUBE, json.dumps({"time": [2, 4], "boxes": _TUBE["track"]}), "half the interval", {"metric": "mean"}),
        ({"track": {"0.5": _BOX}}, '[{"time": 0.5, "bbox_2d": [0, 0, 10, 5]}]', "half the box, by time stamp"),
    )
    part_defaults: ClassVar = {"viou": 0.0, "tiou": 0.0, "viou@0.3": 0.0, "viou@0.5": 0.0}
    metric_part = "viou"

    metric: str = param("viou", "`mean`: half for the stated interval", choices=("viou", "mean"))

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        value = structure_of(answer)
        timed = not isinstance(value, Mapping) or any(value.get(key) is not None for key in ("time", "interval"))
        return {**({"time": interval_of(value)} if timed else {}), "track": track_of(value)}

    def check_target(self, target):
        check_track(target)
        time = target.get("time")
        if time is not None and not is_interval(time):
            raise TargetError(f"'time' is {str(time)[:60]}, not [start, end] with 0 ≤ start < end")
        if time is None and self.metric == "mean":
            raise TargetError("metric='mean' needs the key 'time' in the target; give it, or use metric='viou'")
        if len(self.gold_answer(target)) > MAX_ANSWER:
            raise TargetError(f"'track' takes more than {MAX_ANSWER} characters to write, more than is read")

    def gold_answer(self, target):
        time = {"time": list(target["time"])} if target.get("time") is not None else {}
        return json.dumps({**time, "boxes": write_track(target)})

    def score_answer(self, answer, target):
        track, reason = parse_track(answer)
        if track is None:
            return self.failed(reason)
        expected = track_boxes(target)
        viou = metrics.spatiotemporal_iou(track.boxes, expected)
        if target.get("time") is None:
            tiou = metrics.temporal_frame_iou(track.boxes, expected)
        else:
            tiou = float(metrics.temporal_iou(track.time, target["time"])) if track.time else 0.0
        score = viou if self.metric == "viou" else (tiou + viou) / 2
        # VidSTG counts a tube at a threshold only above it.
        parts = {"viou": viou, "tiou": tiou, "viou@0.3": float(viou > 0.3), "viou@0.5": float(viou > 0.5)}
        parsed = {"time": track.time, "boxes": {frame_key(frame): box for frame, box in track.boxes.items()}}
        return RewardResult(score, parts, parsed, "ok")
