"""Which frames are taken: Qwen's counting rules, explicit times, clips. Only numbers here, no pixels."""

import math
from dataclasses import dataclass

import numpy as np

from video.types import Budget, Sampling, VideoError

DEFAULT_MIN_FRAMES = 4
DEFAULT_MAX_FRAMES = 768
# Seconds by which an asked time may precede a frame and still mean it: below any frame interval, above float noise.
TIME_SLACK = 1e-6


@dataclass(frozen=True)
class Timeline:
    """What sampling needs of a source: its name for errors, frame times (float64 [N], s, ascending), the
    length in seconds to the end of the last frame, and the average frame rate."""

    name: str
    times: np.ndarray
    duration: float
    fps: float

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class Choice:
    """Frame numbers taken, and how many per second of the clip.

    None where times were given, and where frames of uneven times were taken by their numbers.
    """

    indices: tuple[int, ...]
    sampled_fps: float | None


def smart_frames(
    total: int,
    video_fps: float,
    *,
    fps: float | None = None,
    frames: int | None = None,
    min_frames: int | None = None,
    max_frames: int | None = None,
    frame_factor: int = 2,
    name: str = "video",
) -> int:
    """How many of `total` frames are taken (`smart_nframes` of qwen-vl-utils).

    A count is rounded to the nearest multiple of `frame_factor`; a rate gives total / video_fps * fps, bounded by
    [min_frames, max_frames, total] in that order and rounded down to a multiple.

    Raises:
        VideoError: `too_few_frames` where the count is below `frame_factor` or above `total`.
    """
    if frames is not None:
        count = round(frames / frame_factor) * frame_factor
        request = f"frames={frames}"
    else:
        lower = DEFAULT_MIN_FRAMES if min_frames is None else min_frames
        upper = min(DEFAULT_MAX_FRAMES, total) if max_frames is None else max_frames
        lower = math.ceil(lower / frame_factor) * frame_factor
        upper = math.floor(upper / frame_factor) * frame_factor
        count = min(min(max(total / video_fps * fps, lower), upper), total)
        count = math.floor(count / frame_factor) * frame_factor
        request = f"fps={fps:g}"
    if not frame_factor <= count <= total:
        raise VideoError(
            "too_few_frames",
            name,
            f"{request} means {count} frames, but between {frame_factor} and {total} can be taken",
            "ask for another count, widen the clip, or use all_frames, which repeats the last frame",
        )
    return count


def clip_range(timeline: Timeline, start: float | None, end: float | None) -> tuple[int, int]:
    """First and last frame number of a clip by the average frame rate (`calculate_video_frame_range`).

    Times are clamped to the video. Whole clips may be single frames, cut ones hold at least two, as in qwen-vl-utils.

    Raises:
        VideoError: `bad_interval`.
    """
    total = len(timeline)
    if start is None and end is None:
        return 0, total - 1
    longest = total / timeline.fps
    first = 0 if start is None else math.ceil(max(0.0, min(start, longest)) * timeline.fps)
    last = total - 1 if end is None else math.floor(max(0.0, min(end, longest)) * timeline.fps)
    last = min(last, total - 1)
    if first >= last:
        raise _bad_interval(timeline, start, end)
    return first, last


def timed_range(timeline: Timeline, start: float | None, end: float | None) -> tuple[int, int]:
    """First and last frame number whose true times lie in [start, end].

    Raises:
        VideoError: `bad_interval`.
    """
    first = 0 if start is None else int(np.searchsorted(timeline.times, start - TIME_SLACK, side="left"))
    last = len(timeline) if end is None else int(np.searchsorted(timeline.times, end + TIME_SLACK, side="right"))
    if first >= last:
        raise _bad_interval(timeline, start, end)
    return first, last - 1


def on_screen(timeline: Timeline, seconds: tuple[float, ...]) -> tuple[int, ...]:
    """Number of the frame shown at each time: the last one that starts no later.

    Raises:
        VideoError: `bad_timestamp` before the first frame or after the end of the last.
    """
    for time in seconds:
        if not -TIME_SLACK <= time <= timeline.duration + TIME_SLACK:
            raise VideoError(
                "bad_timestamp",
                timeline.name,
                f"{time:g} s lies outside the video, which lasts from 0 to {timeline.duration:.3f} s",
                "times count from the first frame",
            )
    indices = np.searchsorted(timeline.times, np.asarray(seconds) + TIME_SLACK, side="right") - 1
    return tuple(int(i) for i in np.maximum(indices, 0))


def is_steady(timeline: Timeline) -> bool:
    """Whether frames come evenly, so that their numbers tell their times: none is off by half an interval or more."""
    if len(timeline) < 3:
        return True
    times = timeline.times
    even = np.linspace(times[0], times[-1], len(times))
    return bool(np.abs(times - even).max() < (times[-1] - times[0]) / (len(times) - 1) / 2)


def choose(sampling: Sampling, timeline: Timeline, budget: Budget | None = None) -> Choice:
    """The frames that a sampling takes of a source, within the frame budget.

    A source with fewer frames than are asked for gives those that it has, and the last one again where they fill no
    temporal patch. Clips of sources whose frames do not come evenly are cut by true times.

    Raises:
        VideoError: `bad_interval`, `bad_timestamp`, `over_budget`; `too_few_frames` where the bounds leave none.
    """
    limit = None if budget is None else budget.max_frames
    if sampling.timestamps is not None:
        if limit is not None and len(sampling.timestamps) > limit:
            raise VideoError(
                "over_budget",
                timeline.name,
                f"{len(sampling.timestamps)} timestamps given, {limit} frames allowed",
                "name fewer times or raise the budget's max_frames",
            )
        return Choice(on_screen(timeline, sampling.timestamps), None)
    timed = sampling.rounding == "time"
    # The seconds asked for: their frames' numbers are what an average rate says of steady sources alone.
    by_time = timed or not is_steady(timeline)
    first, last = (timed_range if by_time else clip_range)(timeline, sampling.start, sampling.end)
    total = last - first + 1
    rate = _rate(timeline, first, last) if by_time else timeline.fps
    if sampling.all_frames or total < sampling.frame_factor:
        choice = _all_frames(sampling, timeline, first, last, rate, limit)
    else:
        count = _count(sampling, timeline.name, total, rate, limit)
        spread = _spread_times(timeline, first, last, count) if timed else _spread(first, last, count)
        choice = Choice(spread, count / total * rate)
    # Frames taken by number lie at no rate where their times do not.
    return Choice(choice.indices, None) if by_time and not timed else choice


def _count(sampling: Sampling, name: str, total: int, rate: float, limit: int | None) -> int:
    factor = sampling.frame_factor
    if sampling.frames is not None:
        most = min(sampling.frames, total // factor * factor)
        most = most if limit is None else min(most, limit // factor * factor)
        return smart_frames(total, rate, frames=most, frame_factor=factor, name=name)
    upper, lower = sampling.max_frames, sampling.min_frames
    if limit is not None:
        upper = min(limit, min(DEFAULT_MAX_FRAMES, total) if upper is None else upper)
    return smart_frames(
        total, rate, fps=sampling.fps, min_frames=lower, max_frames=upper, frame_factor=factor, name=name
    )


def _all_frames(
    sampling: Sampling, timeline: Timeline, first: int, last: int, rate: float, limit: int | None
) -> Choice:
    total, factor = last - first + 1, sampling.frame_factor
    if limit is not None and total > limit:
        count = smart_frames(total, rate, frames=limit // factor * factor, frame_factor=factor, name=timeline.name)
        return Choice(_spread(first, last, count), count / total * rate)
    repeats = -total % factor
    return Choice((*range(first, last + 1), *[last] * repeats), rate)


def _spread(first: int, last: int, count: int) -> tuple[int, ...]:
    # float32 and half-to-even rounding: torch.linspace decides which frames qwen-vl-utils takes.
    import torch

    return tuple(torch.linspace(first, last, count, dtype=torch.float32).round().long().tolist())


def _spread_times(timeline: Timeline, first: int, last: int, count: int) -> tuple[int, ...]:
    """The frames nearest to `count` evenly spaced times from the first to the last frame of the clip."""
    times = timeline.times[first : last + 1]
    targets = np.linspace(times[0], times[-1], count)
    after = (
        np.clip(np.searchsorted(times, targets), 1, max(len(times) - 1, 1)) if len(times) > 1 else np.zeros(count, int)
    )
    nearer_before = len(times) > 1 and targets - times[after - 1] <= times[after] - targets
    return tuple(int(i) for i in first + after - np.asarray(nearer_before, dtype=int))


def _rate(timeline: Timeline, first: int, last: int) -> float:
    """Frames per second that a clip truly has, its last frame's own duration included."""
    end = timeline.times[last + 1] if last + 1 < len(timeline) else timeline.duration
    return (last - first + 1) / (end - timeline.times[first])


def _bad_interval(timeline: Timeline, start: float | None, end: float | None) -> VideoError:
    return VideoError(
        "bad_interval",
        timeline.name,
        f"clip from {start if start is not None else 0:g} s to {end if end is not None else timeline.duration:g} s "
        f"holds too few frames; the video has {len(timeline)} in {timeline.duration:.3f} s",
        "times count from the first frame; widen the clip or move it inside the video",
    )
