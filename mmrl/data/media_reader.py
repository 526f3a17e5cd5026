"""Pictures and videos of rows: read under a policy's budget, through the cache where there is one, or refused with the
reason."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.contracts.policy import Ahead
from mmrl.contracts.types import Sample
from mmrl.data.augmentation import augmented, draw_key
from mmrl.data.media import load_image, opened_image, resolve_media
from mmrl.data.videos import clip_start, locate, video_key, video_spec
from mmrl.recipe.budgets import VideoBudget
from mmrl.recipe.data import CacheConfig

if TYPE_CHECKING:
    from PIL.Image import Image

    from video import Frames, TensorCache, VideoError, VideoSpec

# qwen-vl-utils' share by which a total leaves the upper bound above the lower one.
HEADROOM = 1.05


class MediaReader:
    """Pictures and videos of samples, sized for one policy.

    Args:
        budget: the policy's own; a dataset's `video` settings override it field by field.
        factor: patch size x merge size of the policy's video processor, in pixels.
        frame_factor: frames of one temporal patch.
        image_size: the policy's pixels per image, as `image_budget` takes them; None: images are not read ahead.

    Attributes:
        cache: decoded videos, and large pictures, on disk; None decodes each time.
        ahead: gives frames that were read ahead in threads; None: all are read when they are asked for.
    """

    def __init__(
        self, budget: VideoBudget, factor: int, frame_factor: int, image_size: Mapping[str, int | None] | None = None
    ):
        self.budget, self.factor, self.frame_factor, self.image_size = budget, factor, frame_factor, image_size
        self.cache: TensorCache | None = None
        self.ahead: Ahead | None = None
        self._counting = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()

    def spec(
        self,
        clip: Mapping[str, Any] = MappingProxyType({}),
        overrides: Mapping[str, Any] = MappingProxyType({}),
        *,
        pictures: bool = False,
    ) -> VideoSpec:
        """What is read of a video, see `video_spec`; `overrides` are the dataset's settings over the policy's."""
        return video_spec(self.budget.merged(overrides), self.factor, self.frame_factor, clip, pictures)

    def check(self, place: str, overrides: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Raises ConfigError, naming the `place` in the recipe, where no frame has the pixels of a visual token."""
        from video import VideoError

        try:
            self.spec({}, overrides)
        except VideoError as error:
            raise ConfigError(f"{place}: {error.problem}; {error.cure}") from error

    def read(self, sample: Sample) -> list[Frames]:
        """The frames of each of the sample's videos, in order. Raises BadSample with the row, path and reason."""
        return [self._read(source, sample, position) for position, source in enumerate(sample.videos)]

    def origins(self, sample: Sample) -> list[float]:
        """The second of its file that each of the sample's videos counts as 0, in what a policy is shown as in targets:
        the clip's start, unless `clock` is `file`. Call it of a sample that was `read`."""
        budget = self.budget.merged(sample.budgets.get("video", {}))
        return [0.0 if budget.clock == "file" else clip_start(source) for source in sample.videos]

    def picture(self, source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> Frames | None:
        """A large image, a file or encoded bytes, through the cache and sized for the policy.

        It is decoded and resized once. Its pixels differ from the processor's own resizing by at most two levels of
        255, with a cold cache and a warm one alike.

        Returns:
            None where there is no cache, or nothing to gain from it: the image is small, is decoded already, or has
            more than 8 bits per channel, of which the cache's frames have no place.
        """
        began = time.perf_counter()
        frames = self._cached_image(source, sample, min_pixels, max_pixels)
        if frames is not None:
            self._count(wait_seconds=time.perf_counter() - began)
        return frames

    def image(self, source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> tuple[Image, tuple[int, int]]:
        """An image in RGB, and (width, height) of its file: a large one as `picture` gives it, any other as it is.

        Raises:
            BadSample: it cannot be read.
        """
        began = time.perf_counter()
        load = partial(self._open_image, source, sample, min_pixels, max_pixels)
        key = None if self.ahead is None else _picture_key(source, sample, min_pixels, max_pixels)
        try:
            picture = load() if key is None else self.ahead.take(key, load)[0]
        except BadSample as error:
            # Another row with the same picture may have had it read.
            raise BadSample(sample.where, error.reason, path=error.path) from error
        if not hasattr(picture, "pixels"):
            return picture, picture.size
        self._count(wait_seconds=time.perf_counter() - began)
        return _as_picture(picture), (picture.metadata.width, picture.metadata.height)

    def sized(self, image: Image, sample: Sample, min_pixels: int, max_pixels: int) -> Image:
        """A picture of the size that `image` gives large ones. Raises BadSample on an extreme aspect ratio."""
        from video import Budget, VideoError, read_image

        try:
            return _as_picture(read_image(image, Budget(self.factor, min_pixels, max_pixels)))
        except VideoError as error:
            raise BadSample(sample.where, f"image {error}") from error

    def jobs(self, sample: Sample) -> dict[Hashable, Callable[[], Any]]:
        """What reads each of the sample's videos and pictures, for `ReadAhead.want`; `read` and `image` take it,
        errors included.

        Pictures that are decoded already, and lists that hold such, are left to `read` and `image`; so is what cannot
        be named.
        """
        readers: dict[Hashable, Callable[[], Any]] = {}
        try:
            bounds = image_budget(self.image_size, sample) if self.image_size and sample.images else {}
        except BadSample:
            return readers
        for source in sample.images if bounds else ():
            key = _picture_key(source, sample, *bounds.values())
            if key is not None:
                readers[key] = partial(self._open_image, source, sample, *bounds.values())
        for source in sample.videos:
            try:
                where, spec = self._request(source, sample)
            except BadSample:
                continue
            key = video_key(where, spec)
            if key is not None:
                readers[key] = partial(self._fetch, where, spec)
        return readers

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

    def _read(self, source: Any, sample: Sample, position: int) -> Frames:
        from video import VideoError

        where, spec = self._request(source, sample)
        load, key = partial(self._fetch, where, spec), video_key(where, spec)
        ahead = None if key is None else self.ahead
        began = time.perf_counter()
        try:
            frames, begun = (load(), False) if ahead is None else ahead.take(key, load)
        except VideoError as error:
            raise _refused(sample, error) from error
        self._count(read=1, read_ahead=int(begun), wait_seconds=time.perf_counter() - began)
        budget = self.budget.merged(sample.budgets.get("video", {}))
        return augmented(frames, draw_key(sample, position), budget.shuffle, budget.drop, self.frame_factor)

    def _request(self, source: Any, sample: Sample) -> tuple[Any, VideoSpec]:
        """What is read, and how. Raises BadSample."""
        from video import VideoError

        where, clip = locate(source, sample)
        shown = where if isinstance(where, str) else None
        try:
            pictures = not isinstance(where, str) or os.path.isdir(where)
            return where, self.spec(clip, sample.budgets.get("video", {}), pictures=pictures)
        except VideoError as error:
            reason = f"video '{shown}'" if shown else "list of images"
            raise BadSample(sample.where, f"{reason}: {error.problem}; {error.cure}", path=shown) from error
        except (ValueError, TypeError) as error:
            raise BadSample(sample.where, f"settings of its video: {error}", path=shown) from error

    def _open_image(self, source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> Frames | Image:
        """A large image through the cache, any other as it is. Raises BadSample."""
        frames = self._cached_image(source, sample, min_pixels, max_pixels)
        return load_image(source, sample.root, sample.where) if frames is None else frames

    def _cached_image(self, source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> Frames | None:
        from video import Budget, ImageSpec, VideoError

        if self.cache is None or not isinstance(source, str | Path | bytes | bytearray):
            return None
        with opened_image(source, sample.root, sample.where) as image:
            deep = image.mode == "F" or image.mode.startswith("I")
            if deep or image.width * image.height < self.cache.image_pixels:
                return None
        encoded = isinstance(source, bytes | bytearray)
        file = source if encoded else str(resolve_media(source, sample.root, sample.where))
        try:
            return self.cache.get(file, ImageSpec(Budget(self.factor, min_pixels, max_pixels)))
        except VideoError as error:
            raise BadSample(sample.where, f"image {error}", path=error.path) from error

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


def _as_picture(frames: Frames) -> Image:
    from PIL.Image import fromarray

    return fromarray(frames.pixels[0].permute(1, 2, 0).numpy())


def image_budget(size: Mapping[str, int | None], sample: Sample) -> dict[str, int]:
    """Pixels of each image of a sample: the dataset's own budget over the policy's.

    A total lowers the upper bound to its share for each image, though not below 1.05 times the lower one, as that of a
    video does.

    Args:
        size: the policy's `shortest_edge` and `longest_edge` (bounds in pixels, whatever the processor calls them), and
            `total_pixels`.

    Returns:
        `shortest_edge` and `longest_edge`.

    Raises:
        BadSample: the bounds contradict each other.
    """
    budget = sample.budgets.get("image", {})
    low = budget.get("min_pixels") or size["shortest_edge"]
    high = budget.get("max_pixels") or size["longest_edge"]
    if low > high:
        raise BadSample(sample.where, f"image.min_pixels {low} of its dataset is above max_pixels {high}")
    total = budget.get("total_pixels") or size.get("total_pixels")
    if total is not None and sample.images:
        high = min(high, max(total // len(sample.images), int(low * HEADROOM)))
    return {"shortest_edge": low, "longest_edge": high}


def _refused(sample: Sample, error: VideoError) -> BadSample:
    return BadSample(sample.where, f"video {error}", path=error.path)


def _picture_key(source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> Hashable | None:
    """Names an image file or encoded image and how it is read; None for one that is decoded already."""
    if not isinstance(source, str | Path | bytes):
        return None
    return source, sample.root, min_pixels, max_pixels


def open_cache(config: CacheConfig | None) -> TensorCache | None:
    """The cache of a recipe, or None without one. Raises UserError where its folder cannot be used."""
    if config is None:
        return None
    from video import TensorCache

    limit = int(config.max_gb * 1e9) if config.max_gb is not None else None
    try:
        return TensorCache(
            config.folder,
            max_bytes=limit,
            compression=config.compression,
            fingerprint=config.fingerprint,
            image_pixels=config.image_pixels,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"data.cache.folder '{config.folder}' cannot be used: {error}") from error
