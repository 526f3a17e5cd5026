"""Videos of rows: read under a policy's budget, through the cache where there is one, or refused with the reason."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mmrl.config import CacheConfig, VideoBudget
from mmrl.data.ahead import ReadAhead
from mmrl.data.media import resolve_media
from mmrl.errors import BadSample, UserError, unknown
from mmrl.types import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from video import Frames, TensorCache, VideoSpec

CLIP_KEYS = ("path", "start", "end", "source_fps")


class VideoReader:
    """Frames of samples' videos, sized for one policy.

    Args:
        budget: the policy's own; a dataset's `video` settings override it field by field.
        factor: patch size x merge size of the policy's video processor, in pixels.
        frame_factor: frames of one temporal patch.

    Attributes:
        cache: decoded videos, and large pictures, on disk; None decodes each time.
        ahead: gives frames that were read ahead in threads; None: all are read when they are asked for.
    """

    def __init__(self, budget: VideoBudget, factor: int, frame_factor: int):
        self.budget, self.factor, self.frame_factor = budget, factor, frame_factor
        self.cache: TensorCache | None = None
        self.ahead: ReadAhead | None = None
        self._counting = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()

    def spec(
        self,
        start: float | None = None,
        end: float | None = None,
        source_fps: float | None = None,
        overrides: Mapping[str, Any] = MappingProxyType({}),
    ) -> VideoSpec:
        """What is read of a clip: all that decides its pixels. Raises VideoError on settings that contradict.

        Args:
            start, end: seconds.
            source_fps: frames a second of a folder or list of images; None: as the budget says.
            overrides: the dataset's own settings over the policy's.
        """
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
        source_fps = budget.source_fps if source_fps is None else source_fps
        return VideoSpec(sampling, pixels, budget.backend, budget.truncated, source_fps=source_fps)

    def read(self, sample: Sample) -> list[Frames]:
        """The frames of each of the sample's videos, in order. Raises BadSample with the row, path and reason."""
        return [self._read(source, sample) for source in sample.videos]

    def picture(self, source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> Frames | None:
        """A large image, a file or encoded bytes, through the cache and sized for the policy.

        It is decoded and resized once. Its pixels differ from the processor's own resizing by at most a level of 255,
        with a cold cache and a warm one alike.

        Returns:
            None where there is no cache, or nothing to gain from it: the image is small, is decoded already, or has
            more than 8 bits a channel, of which the cache's frames have no place.
        """
        from video import Budget, ImageSpec, VideoError
        from video.provenance import open_image

        if self.cache is None or not isinstance(source, str | Path | bytes | bytearray):
            return None
        where = source if isinstance(source, bytes | bytearray) else resolve_media(source, sample.root, sample.where)
        began = time.perf_counter()
        try:
            with open_image(where) as image:
                small = image.width * image.height < self.cache.image_pixels
                if small or image.mode == "F" or image.mode.startswith("I"):
                    return None
            kept = where if isinstance(where, bytes | bytearray) else str(where)
            frames = self.cache.get(kept, ImageSpec(Budget(self.factor, min_pixels, max_pixels)))
        except VideoError as error:
            raise BadSample(sample.where, f"image {error}") from error
        self._count(wait_seconds=time.perf_counter() - began)
        return frames

    def jobs(self, sample: Sample) -> dict[Hashable, Callable[[], Frames]]:
        """What reads each of the sample's videos, for `ReadAhead.want`; `read` takes it, errors included.

        Lists that hold pictures, and not their paths alone, are left to `read`; so is what cannot be named.
        """
        found: dict[Hashable, Callable[[], Frames]] = {}
        for source in sample.videos:
            try:
                where, spec = self._request(source, sample)
            except BadSample:
                continue
            key = _key(where, spec)
            if key is not None:
                found[key] = partial(self._fetch, where, spec)
        return found

    def figures(self) -> dict[str, float]:
        """What reading took since the last call, as documented metrics; empty before anything is read."""
        with self._counting:
            totals = Counter(self._totals)
        if self.cache is not None:
            counts = self.cache.counts.copy()
            totals["decode_seconds"] += self.cache.decode_seconds
            totals["cache_hits"] = counts["hits"]
            totals["cache_misses"] = counts["decoded"] + counts["waited"]
            totals["cache_rebuilt"] = counts["broken"] + counts["foreign"]
            totals["cache_evicted"] = counts["evicted"]
            totals["cache_not_stored"] = counts["not_stored"]
        if not any(totals.values()):
            return {}
        before, self._noted = self._noted, totals
        return {f"video/{name}": float(value - before[name]) for name, value in totals.items()}

    def _read(self, source: Any, sample: Sample) -> Frames:
        from video import VideoError

        where, spec = self._request(source, sample)
        load, key = partial(self._fetch, where, spec), _key(where, spec)
        ahead = None if key is None else self.ahead
        began = time.perf_counter()
        try:
            frames, begun = (load(), False) if ahead is None else ahead.take(key, load)
        except VideoError as error:
            raise BadSample(sample.where, f"video {error}") from error
        self._count(read=1, read_ahead=int(begun), wait_seconds=time.perf_counter() - began)
        budget = self.budget.merged(sample.budgets.get("video", {}))
        return augmented(frames, sample.id, budget.shuffle, budget.drop, self.frame_factor)

    def _request(self, source: Any, sample: Sample) -> tuple[Any, VideoSpec]:
        """What is read, and how. Raises BadSample."""
        from video import VideoError

        where, clip = self.locate(source, sample)
        try:
            settings = (clip.get(key) for key in CLIP_KEYS[1:])
            return where, self.spec(*settings, overrides=sample.budgets.get("video", {}))
        except VideoError as error:
            raise BadSample(sample.where, f"video {error}") from error

    def _fetch(self, where: Any, spec: VideoSpec) -> Frames:
        from video.reading import read

        if self.cache is not None:
            return self.cache.get(where, spec)
        began = time.perf_counter()
        frames = read(where, spec)
        self._count(decode_seconds=time.perf_counter() - began)
        return frames

    def _count(self, **figures: float) -> None:
        with self._counting:
            self._totals.update(figures)

    def locate(self, source: Any, sample: Sample) -> tuple[Any, Mapping[str, Any]]:
        """(file, folder or list of images under the sample's root, the clip's settings). Raises BadSample."""
        clip: Mapping[str, Any] = {}
        if isinstance(source, Mapping):
            if "path" not in source or set(source) - set(CLIP_KEYS):
                word = next(iter(set(source) - set(CLIP_KEYS)), "path")
                raise BadSample(sample.where, unknown("key of a video", word, CLIP_KEYS))
            source, clip = source["path"], source
        if isinstance(source, str | Path):
            path = resolve_media(source, sample.root, sample.where, folders=True)
            if path.is_dir() and sample.root is not None:
                _check_links(path, sample)
            return str(path), clip
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


def _key(where: Any, spec: VideoSpec) -> Hashable | None:
    """Names a video and how it is read; None for a list of pictures."""
    if isinstance(where, str):
        return where, spec
    return (tuple(where), spec) if all(isinstance(item, str) for item in where) else None


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


def _check_links(folder: Path, sample: Sample) -> None:
    """Raises BadSample where a frame of the folder is a link that leads out of the sample's root."""
    from video.images import SUFFIXES

    with os.scandir(folder) as found:
        links = [entry.path for entry in found if entry.is_symlink() and entry.name.lower().endswith(SUFFIXES)]
    for link in links:
        resolve_media(link, sample.root, sample.where)


def _frame(item: Any, sample: Sample) -> Any:
    return str(resolve_media(item, sample.root, sample.where)) if isinstance(item, str | Path) else item
