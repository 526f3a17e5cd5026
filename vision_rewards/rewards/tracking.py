"""One object's box in every frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import MAX_ANSWER, MAX_FRAMES, frame_number, parse_track, read_box
from vision_rewards.plain import Plain, track_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_TRACK = {"track": {"1": [0, 0, 10, 10], "2": [5, 0, 15, 10], "3": [10, 0, 20, 10]}}


def check_track(target) -> None:
    """Raise TargetError unless target["track"] maps frames to boxes or None, with at least one box."""
    track = target["track"]
    if not isinstance(track, dict) or not 0 < len(track) <= MAX_FRAMES:
        raise TargetError(f"'track' is {str(track)[:60]}, not a mapping of 1 to {MAX_FRAMES} frames to boxes")
    frames = {frame: frame_number(frame) for frame in track}
    for frame, number in frames.items():
        if number is None or frame_number(frame_key(frame)) != number:
            raise TargetError(f"'track' has the frame {frame!r}, not a number ≥ 0 such as 12, '12' or 12.5")
        if track[frame] is not None and read_box(track[frame]) is None:
            raise TargetError(f"'track'[{frame!r}] is {str(track[frame])[:60]}, without x1 < x2 and y1 < y2")
    if len(set(frames.values())) < len(track):
        raise TargetError("'track' holds one frame under two spellings")
    if all(box is None for box in track.values()):
        raise TargetError("'track' has no box in any frame")


def frame_key(frame) -> str:
    """How an answer writes a frame."""
    return frame if isinstance(frame, str) else json.dumps(int(frame) if frame == int(frame) else frame)


def track_boxes(target) -> dict[float, list]:
    """Frame -> box of a target, without the frames in which the object is not to be seen."""
    return {frame_number(frame_key(frame)): box for frame, box in target["track"].items() if box is not None}


def write_track(target) -> dict[str, list]:
    """The boxes of a target as an answer writes them."""
    return {frame_key(frame): list(box) for frame, box in target["track"].items() if box is not None}


@dataclass(frozen=True, kw_only=True)
class Tracking(AnswerReward):
    """Mean IoU over all frames that the target or the answer has."""

    name = "tracking"
    summary = "Mean IoU of one object's boxes over all frames."
    target_keys: ClassVar = {
        "track": "frame number or time stamp → [x1, y1, x2, y2], or null where the object is not to be seen",
    }
    places: ClassVar = {"track": "track"}
    formula = "Σ IoU over the frames of the target / number of frames in which the target or the answer has a box"
    source = "average overlap of single-object tracking (GOT-10k), over all frames; extra frames as in VidSTG's vIoU"
    closes = (
        "a missing frame counts 0: one tracked frame of many cannot score 1, as with EasyVideoR1's common frames",
        "frames that the target does not have count as misses: answering every frame of the video loses",
        "a frame twice, also as 1 and 1.0, earns 0",
    )
    tasks = ("tracking", "object tracking", "single object tracking", "visual tracking")
    plain = (Plain("the boxes by frame, as mapping or JSON text", {"boxes": _TRACK["track"]}),)
    examples = (
        (_TRACK, '{"boxes": {"1": [0, 0, 10, 10], "2": [5, 0, 15, 10], "3": [10, 0, 20, 10]}}', "every frame"),
        (_TRACK, '{"boxes": {"1": [0, 0, 10, 10]}}', "one frame of three"),
        (_TRACK, '{"1": [0, 0, 10, 10], "2": [0, 0, 10, 10], "3": [0, 0, 10, 10]}', "a box that stays behind"),
        (
            {"track": {"0": None, "1": [0, 0, 10, 10]}},
            '[{"frame": 0, "bbox_2d": [0, 0, 10, 10]}, {"frame": 1, "bbox_2d": [0, 0, 10, 10]}]',
            "a box where the object is not to be seen",
        ),
    )
    part_defaults: ClassVar = {"iou": 0.0, "success@0.5": 0.0, "coverage": 0.0}

    threshold: float | None = param(
        None, "count frames from this IoU on as 1 and others as 0 (success rate); none: by their IoU", low=0.01, high=1
    )

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return {"track": track_of(answer)}

    def check_target(self, target):
        check_track(target)
        if len(self.gold_answer(target)) > MAX_ANSWER:
            raise TargetError(f"'track' takes more than {MAX_ANSWER} characters to write, more than is read")

    def gold_answer(self, target):
        return json.dumps({"boxes": write_track(target)})

    def score_answer(self, answer, target):
        track, reason = parse_track(answer)
        if track is None:
            return self.failed(reason)
        expected = track_boxes(target)
        ious = metrics.frame_ious(track.boxes, expected)
        either = len(set(expected) | set(track.boxes))
        gained = ious if self.threshold is None else ious >= self.threshold
        parts = {
            "iou": float(ious.mean()),
            "success@0.5": float((ious >= 0.5).mean()),
            "coverage": len(set(expected) & set(track.boxes)) / len(expected),
        }
        return RewardResult(
            float(gained.sum() / either), parts, {frame_key(f): box for f, box in track.boxes.items()}, "ok"
        )
