"""Boxes of one object over the frames of a video."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from vision_rewards.parsers.boxes import BOX_KEYS, read_box
from vision_rewards.parsers.geometry import is_coordinate
from vision_rewards.parsers.json_values import parse_written_json

MAX_FRAMES = 1000
FRAME_KEYS = ("frame", "time", "timestamp", "frame_id", "frame_index", "frame_idx", "t")
TRACK_KEYS = ("boxes", "track", "frames")
_CLOCK = re.compile(r"(?:([0-9]{1,3}):)?([0-5]?[0-9]):([0-5][0-9](?:\.[0-9]{1,6})?)")
_FRAME = re.compile(r"(?:frame[ _]?|t=)?([0-9]{1,9}(?:\.[0-9]{1,6})?)(?:\s?s(?:ec(?:ond)?s?)?)?", re.IGNORECASE)


class Track(NamedTuple):
    """Boxes by frame number or time stamp, and the stretch of time that the answer states, if it does."""

    boxes: dict[float, list[float]]
    time: tuple[float, float] | None


def frame_number(key: Any) -> float | None:
    """The frame number or time stamp that a key stands for: 12, "12", "12.0", "frame_12", "12s" are one."""
    if isinstance(key, str):
        if clock := _CLOCK.fullmatch(key.strip()):
            return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3])
        match = _FRAME.fullmatch(key.strip())
        return float(match[1]) if match else None
    return float(key) if is_coordinate(key) and key >= 0 else None


def parse_track(text: str) -> tuple[Track | None, str]:
    """Read one object's boxes over time.

    The forms, in JSON as `parse_written_json` reads it: `{"boxes": {"1": [x1, y1, x2, y2], …}}` with an optional
    `"time": [start, end]` (EasyVideoR1), the inner mapping alone, or a list of
    `{"time": 1.0, "bbox_2d": [x1, y1, x2, y2]}` objects (or the other `FRAME_KEYS` and `BOX_KEYS`). A null box means
    that the object is not to be seen, and is left out.

    Returns:
        (track, "ok"), or (None, reason): "unparsable" (a frame twice included), "truncated", "bad_box", "bad_time"
        (reversed or empty) or "too_many_frames" (more than `MAX_FRAMES`).
    """
    value, reason = parse_written_json(text)
    if reason != "ok":
        return None, reason
    time = None
    if isinstance(value, list):
        pairs = [_frame_and_box(item) for item in value]
    elif isinstance(value, dict):
        time = value.get("time")
        tracks = [value[key] for key in TRACK_KEYS if key in value]
        frames = tracks[0] if len(tracks) == 1 else value
        pairs = list(frames.items()) if isinstance(frames, dict) else [None]
    else:
        return None, "unparsable"
    if len(pairs) > MAX_FRAMES:
        return None, "too_many_frames"
    boxes, reason = _boxes_by_frame(pairs)
    if boxes is None:
        return None, reason
    if time is not None and not is_interval(time):
        return None, "bad_time"
    return Track(boxes, (float(time[0]), float(time[1])) if time is not None else None), "ok"


def is_interval(value: Any) -> bool:
    """Whether `value` is [start, end] with 0 ≤ start < end, both finite numbers."""
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(map(is_coordinate, value)):
        return False
    return 0 <= value[0] < value[1] and math.isfinite(value[1])


def _frame_and_box(item: Any) -> tuple[Any, Any] | None:
    if not isinstance(item, Mapping):
        return None
    frames = [item[key] for key in FRAME_KEYS if key in item]
    boxes = [item[key] for key in BOX_KEYS if key in item]
    return (frames[0], boxes[0]) if len(frames) == len(boxes) == 1 else None


def _boxes_by_frame(pairs: list[tuple[Any, Any] | None]) -> tuple[dict[float, list[float]] | None, str]:
    frames: dict[float, list[float] | None] = {}
    for pair in pairs:
        frame = frame_number(pair[0]) if pair is not None else None
        if frame is None or frame in frames:
            return None, "unparsable"
        box = read_box(pair[1])
        if box is None and pair[1] is not None:
            return None, "bad_box" if isinstance(pair[1], list) else "unparsable"
        frames[frame] = box
    return {frame: box for frame, box in frames.items() if box is not None}, "ok"
