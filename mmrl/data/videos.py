"""What is read of a row's video: its file, folder or list of images, and the settings that decide its pixels."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.contracts.errors import BadSample, unknown
from mmrl.contracts.types import Sample
from mmrl.data.media import resolve_media
from mmrl.recipe.budgets import VideoBudget

if TYPE_CHECKING:
    from video import VideoSpec

# Settings of a clip that go before the budget's.
CLIP_SETTINGS = ("source_fps", "all_frames", "timestamps", "stream")
CLIP_KEYS = ("path", "start", "end", *CLIP_SETTINGS)


def video_spec(
    budget: VideoBudget, factor: int, frame_factor: int, clip: Mapping[str, Any], pictures: bool
) -> VideoSpec:
    """What is read of a video: all that decides its pixels.

    Args:
        budget: the policy's, with the dataset's settings over it.
        factor: patch size x merge size of the policy's video processor, in pixels.
        frame_factor: frames of one temporal patch.
        clip: what a row says of it, see `Sample.videos`.
        pictures: it is a folder or a list of images.

    Raises:
        ValueError: settings that contradict each other (VideoError is one).
    """
    from video import Budget, Sampling, VideoSpec

    overrides = {key: clip[key] for key in CLIP_SETTINGS if clip.get(key) is not None}
    budget = budget.merged(overrides) if overrides else budget
    most = budget.max_frames
    whole = budget.all_frames or (pictures and budget.all_frames is None and not (budget.frames or budget.timestamps))
    by_fps = not (whole or budget.frames or budget.timestamps)
    # A list's own end is repeated up to a whole temporal patch, and named times are as well.
    times = budget.timestamps and [
        *budget.timestamps,
        *budget.timestamps[-1:] * (-len(budget.timestamps) % frame_factor),
    ]
    sampling = Sampling(
        fps=budget.fps if by_fps else None,
        frames=budget.frames,
        timestamps=times,
        all_frames=whole,
        min_frames=budget.min_frames if by_fps else None,
        max_frames=most if by_fps else None,
        frame_factor=frame_factor,
        start=clip.get("start"),
        end=clip.get("end"),
        rounding=budget.rounding,
    )
    limit = max(1, most // frame_factor * frame_factor) if whole and most is not None else None
    pixels = Budget(factor, budget.min_pixels, budget.max_pixels, budget.total_pixels, limit)
    return VideoSpec(
        sampling, pixels, budget.backend, budget.truncated, stream=budget.stream, source_fps=budget.source_fps
    )


def locate(source: Any, sample: Sample) -> tuple[Any, Mapping[str, Any]]:
    """(file, folder or list of images under the sample's root, the clip's settings). Raises BadSample."""
    clip: Mapping[str, Any] = {}
    if isinstance(source, Mapping):
        if problem := foreign_key(source):
            raise BadSample(sample.where, problem)
        if "path" not in source:
            raise BadSample(sample.where, unknown("key of a video", "path", CLIP_KEYS))
        source, clip = source["path"], source
    if isinstance(source, str | Path):
        path = resolve_media(source, sample.root, sample.where, folders=True)
        if path.is_dir() and sample.root is not None:
            _check_links(path, sample)
        return str(path), clip
    if isinstance(source, Sequence):
        return [_frame(item, sample) for item in source], clip
    raise BadSample(sample.where, f"a video is a path or a list of images, not {type(source).__name__}")


def clip_start(source: Any) -> float:
    """The second of its file at which a video of a row begins: 0, unless it is a clip that says otherwise."""
    start = source.get("start") if isinstance(source, Mapping) else None
    return max(0.0, float(start)) if start is not None else 0.0


def foreign_key(clip: Mapping[str, Any]) -> str | None:
    """What is wrong with the first key, by name, that no clip has; None where there is none."""
    foreign = sorted(set(clip) - set(CLIP_KEYS), key=str)
    return unknown("key of a video", foreign[0], CLIP_KEYS) if foreign else None


def video_key(where: Any, spec: VideoSpec) -> Hashable | None:
    """Names a video and how it is read; None for a list of pictures."""
    if isinstance(where, str):
        return where, spec
    return (tuple(where), spec) if all(isinstance(item, str) for item in where) else None


def _check_links(folder: Path, sample: Sample) -> None:
    """Raises BadSample where a frame of the folder is a link that leads out of the sample's root."""
    from video.images import SUFFIXES

    with os.scandir(folder) as entries:
        links = [entry.path for entry in entries if entry.is_symlink() and entry.name.lower().endswith(SUFFIXES)]
    for link in links:
        resolve_media(link, sample.root, sample.where)


def _frame(item: Any, sample: Sample) -> Any:
    return str(resolve_media(item, sample.root, sample.where)) if isinstance(item, str | Path) else item
