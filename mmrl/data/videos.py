"""Videos of rows: read under a policy's budget, through the cache where there is one, or refused with the reason."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.config import CacheConfig, VideoBudget
from mmrl.data.media import resolve_media
from mmrl.errors import BadSample, UserError, unknown
from mmrl.types import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from video import Frames, TensorCache, VideoSpec

CLIP_KEYS = ("path", "start", "end")
# The only files whose reading leaves nothing to choose: 8 bits a channel, no transparency.
JPEG = (".jpg", ".jpeg")


class VideoReader:
    """Frames of samples' videos, sized for one policy.

    Args:
        budget: the policy's own; a dataset's `video` settings override it field by field.
        factor: patch size x merge size of the policy's video processor, in pixels.
        frame_factor: frames of one temporal patch.

    Attributes:
        cache: decoded videos, and large pictures, on disk; None decodes each time.
    """

    def __init__(self, budget: VideoBudget, factor: int, frame_factor: int):
        self.budget, self.factor, self.frame_factor = budget, factor, frame_factor
        self.cache: TensorCache | None = None
        self._ahead: dict[Any, Future[Frames]] = {}
        self._threads: ThreadPoolExecutor | None = None

    def spec(self, start: float | None = None, end: float | None = None, **overrides: Any) -> VideoSpec:
        """What is read of a clip: all that decides its pixels. Raises VideoError on settings that contradict."""
        from video import Budget, Sampling, VideoSpec

        budget = self.budget.merged(overrides)
        by_fps = budget.frames is None
        sampling = Sampling(
            fps=budget.fps if by_fps else None,
            frames=budget.frames,
            min_frames=budget.min_frames if by_fps else None,
            max_frames=budget.max_frames if by_fps else None,
            frame_factor=self.frame_factor,
            start=start,
            end=end,
            rounding=budget.rounding,
        )
        pixels = Budget(self.factor, budget.min_pixels, budget.max_pixels, budget.total_pixels, None)
        return VideoSpec(sampling, pixels, backend=budget.backend, truncated=budget.truncated)

    def read(self, sample: Sample) -> list[Frames]:
        """The frames of each of the sample's videos, in order. Raises BadSample with the row, path and reason."""
        return [self._read(source, sample) for source in sample.videos]

    def picture(self, source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> Frames | None:
        """An image file through the cache, sized for the policy; None where there is no cache or it is no JPEG.

        Large pictures are decoded and resized once. The pixels differ from the processor's own resizing by at most a
        level of 255, with a cold cache and a warm one alike.
        """
        from video import Budget, ImageSpec, VideoError

        if self.cache is None or not isinstance(source, str) or Path(source).suffix.lower() not in JPEG:
            return None
        path = resolve_media(source, sample.root, sample.where)
        try:
            return self.cache.get_image(str(path), ImageSpec(Budget(self.factor, min_pixels, max_pixels)))
        except VideoError as error:
            raise BadSample(sample.where, f"image {error}") from error

    def read_ahead(self, samples: Sequence[Sample], threads: int = 2) -> None:
        """Starts reading samples' videos in threads; `read` then takes what is there, errors included.

        What an earlier call started and nobody took is dropped. Lists of images are not read ahead.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
        started: dict[Any, Future[Frames]] = {}
        for sample in samples:
            for source in sample.videos:
                try:
                    where, spec = self._request(source, sample)
                except BadSample:
                    continue
                if isinstance(where, str) and (where, spec) not in started:
                    known = self._ahead.pop((where, spec), None)
                    started[where, spec] = known or self._threads.submit(self._fetch, where, spec)
        for future in self._ahead.values():
            future.cancel()
        self._ahead = started

    def _read(self, source: Any, sample: Sample) -> Frames:
        from video import VideoError

        where, spec = self._request(source, sample)
        future = self._ahead.pop((where, spec), None) if isinstance(where, str) else None
        try:
            frames = future.result() if future is not None else self._fetch(where, spec)
        except VideoError as error:
            raise BadSample(sample.where, f"video {error}") from error
        budget = self.budget.merged(sample.budgets.get("video", {}))
        return augmented(frames, sample.id, budget.shuffle, budget.drop, self.frame_factor)

    def _request(self, source: Any, sample: Sample) -> tuple[Any, VideoSpec]:
        """What is read, and how. Raises BadSample."""
        from video import VideoError

        where, clip = self.locate(source, sample)
        try:
            return where, self.spec(clip.get("start"), clip.get("end"), **sample.budgets.get("video", {}))
        except VideoError as error:
            raise BadSample(sample.where, f"video {error}") from error

    def _fetch(self, where: Any, spec: VideoSpec) -> Frames:
        from video.reading import read

        return self.cache.get(where, spec) if self.cache is not None else read(where, spec)

    def locate(self, source: Any, sample: Sample) -> tuple[Any, Mapping[str, Any]]:
        """(file, folder or list of images under the sample's root, the clip's settings). Raises BadSample."""
        clip: Mapping[str, Any] = {}
        if isinstance(source, Mapping):
            if "path" not in source or set(source) - set(CLIP_KEYS):
                word = next(iter(set(source) - set(CLIP_KEYS)), "path")
                raise BadSample(sample.where, unknown("key of a video", word, CLIP_KEYS))
            source, clip = source["path"], source
        if isinstance(source, str | Path):
            return str(resolve_media(source, sample.root, sample.where, folders=True)), clip
        if isinstance(source, Sequence):
            return [_frame(item, sample) for item in source], clip
        raise BadSample(sample.where, f"a video is a path or a list of images, not {type(source).__name__}")


def augmented(frames: Frames, key: str, shuffle: bool, drop: float, factor: int) -> Frames:
    """Frames in another order, or fewer of them; a function of the arguments alone.

    Args:
        key: the sample's id, which seeds the draw.
        shuffle: permute the pictures and leave the times where they are (Video-R1's control, arXiv 2503.21776).
        drop: share of frames left out with their times; what stays is a multiple of `factor`, at least one.
    """
    if not shuffle and not drop:
        return frames
    import torch

    seed = int.from_bytes(hashlib.blake2b(f"frames/{key}".encode(), digest_size=8).digest()) >> 1
    generator, count = torch.Generator().manual_seed(seed), len(frames)
    kept = torch.arange(count)
    if drop:
        wanted = max(factor, round(count * (1 - drop) / factor) * factor)
        kept = torch.randperm(count, generator=generator)[:wanted].sort().values
    order = kept[torch.randperm(len(kept), generator=generator)] if shuffle else kept
    rate = frames.metadata.sampled_fps
    left = selected(frames, kept, rate * len(kept) / count if rate is not None else None)
    return dataclasses.replace(left, pixels=frames.pixels[order])


def selected(frames: Frames, kept: Tensor, rate: float | None) -> Frames:
    """Some of the frames (int64 indices) with their own times, said to come at `rate` a second of the clip."""
    taken = frames.metadata
    metadata = dataclasses.replace(taken, indices=tuple(taken.indices[i] for i in kept.tolist()), sampled_fps=rate)
    return dataclasses.replace(
        frames, pixels=frames.pixels[kept], timestamps=frames.timestamps[kept], metadata=metadata
    )


def open_cache(config: CacheConfig | None) -> TensorCache | None:
    """The cache of a recipe, or None without one. Raises UserError where its folder cannot be used."""
    if config is None:
        return None
    from video import TensorCache

    limit = int(config.max_gb * 1e9) if config.max_gb is not None else None
    try:
        return TensorCache(
            config.folder, max_bytes=limit, compression=config.compression, fingerprint=config.fingerprint
        )
    except (OSError, ValueError) as error:
        raise UserError(f"data.cache.folder '{config.folder}' cannot be used: {error}") from error


def _frame(item: Any, sample: Sample) -> Any:
    return str(resolve_media(item, sample.root, sample.where)) if isinstance(item, str | Path) else item
