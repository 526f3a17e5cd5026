"""Videos of rows: read under a policy's budget, through the cache where there is one, or refused with the reason."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mmrl.contracts.errors import BadSample, ConfigError, UserError, unknown
from mmrl.contracts.types import Sample
from mmrl.data.ahead import ReadAhead
from mmrl.data.augmentation import augmented, draw_key
from mmrl.data.media import load_image, resolve_media
from mmrl.recipe.data import CacheConfig, VideoBudget

if TYPE_CHECKING:
    from PIL.Image import Image

    from video import Frames, TensorCache, VideoError, VideoSpec

# Of a clip, those that go before the budget's.
CLIP_SETTINGS = ("source_fps", "all_frames", "timestamps", "stream")
CLIP_KEYS = ("path", "start", "end", *CLIP_SETTINGS)
# qwen-vl-utils' share by which a total leaves the upper bound above the lower one.
HEADROOM = 1.05


class VideoReader:
    """Frames of samples' videos, and their images, sized for one policy.

    Args:
        budget: the policy's own; a dataset's `video` settings override it field by field.
        factor: patch size x merge size of the policy's video processor, in pixels.
        frame_factor: frames of one temporal patch.
        image_size: the policy's pixels an image, as `image_budget` takes them; None: images are not read ahead.

    Attributes:
        cache: decoded videos, and large pictures, on disk; None decodes each time.
        ahead: gives frames that were read ahead in threads; None: all are read when they are asked for.
    """

    def __init__(
        self, budget: VideoBudget, factor: int, frame_factor: int, image_size: Mapping[str, int | None] | None = None
    ):
        self.budget, self.factor, self.frame_factor, self.image_size = budget, factor, frame_factor, image_size
        self.cache: TensorCache | None = None
        self.ahead: ReadAhead | None = None
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
        """What is read of a video: all that decides its pixels.

        Args:
            clip: what a row says of it, see `Sample.videos`.
            overrides: the dataset's own settings over the policy's.
            pictures: it is a folder or a list of images.

        Raises:
            ValueError: settings that contradict each other (VideoError is one).
        """
        from video import Budget, Sampling, VideoSpec

        said = {key: clip[key] for key in CLIP_SETTINGS if clip.get(key) is not None}
        budget = self.budget.merged(overrides)
        budget = budget.merged(said) if said else budget
        factor, most = self.frame_factor, budget.max_frames
        whole = budget.all_frames or (
            pictures and budget.all_frames is None and not (budget.frames or budget.timestamps)
        )
        by_fps = not (whole or budget.frames or budget.timestamps)
        # A list's own end is repeated up to a whole temporal patch, and named times are as well.
        times = budget.timestamps and [*budget.timestamps, *budget.timestamps[-1:] * (-len(budget.timestamps) % factor)]
        sampling = Sampling(
            fps=budget.fps if by_fps else None,
            frames=budget.frames,
            timestamps=times,
            all_frames=whole,
            min_frames=budget.min_frames if by_fps else None,
            max_frames=most if by_fps else None,
            frame_factor=factor,
            start=clip.get("start"),
            end=clip.get("end"),
            rounding=budget.rounding,
        )
        limit = max(1, most // factor * factor) if whole and most is not None else None
        pixels = Budget(self.factor, budget.min_pixels, budget.max_pixels, budget.total_pixels, limit)
        return VideoSpec(
            sampling, pixels, budget.backend, budget.truncated, stream=budget.stream, source_fps=budget.source_fps
        )

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

    def picture(self, source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> Frames | None:
        """A large image, a file or encoded bytes, through the cache and sized for the policy.

        It is decoded and resized once. Its pixels differ from the processor's own resizing by at most two levels of
        255, with a cold cache and a warm one alike.

        Returns:
            None where there is no cache, or nothing to gain from it: the image is small, is decoded already, or has
            more than 8 bits a channel, of which the cache's frames have no place.
        """
        if self.cache is None or not isinstance(source, str | Path | bytes | bytearray):
            return None
        began = time.perf_counter()
        frames = self._kept_picture(self._file_of(source, sample), sample.where, min_pixels, max_pixels)
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
            found = load() if key is None else self.ahead.take(key, load)[0]
        except BadSample as error:
            # Another row with the same picture may have had it read.
            raise BadSample(sample.where, error.reason, path=error.path) from error
        if not hasattr(found, "pixels"):
            return found, found.size
        self._count(wait_seconds=time.perf_counter() - began)
        return _as_picture(found), (found.metadata.width, found.metadata.height)

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
        found: dict[Hashable, Callable[[], Any]] = {}
        try:
            bounds = image_budget(self.image_size, sample) if self.image_size and sample.images else {}
        except BadSample:
            return found
        for source in sample.images if bounds else ():
            key = _picture_key(source, sample, *bounds.values())
            if key is not None:
                found[key] = partial(self._open_image, source, sample, *bounds.values())
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

    def _read(self, source: Any, sample: Sample, position: int) -> Frames:
        from video import VideoError

        where, spec = self._request(source, sample)
        load, key = partial(self._fetch, where, spec), _key(where, spec)
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

        where, clip = self.locate(source, sample)
        shown = where if isinstance(where, str) else None
        try:
            pictures = not isinstance(where, str) or os.path.isdir(where)
            return where, self.spec(clip, sample.budgets.get("video", {}), pictures=pictures)
        except VideoError as error:
            reason = f"video '{shown}'" if shown else "list of images"
            raise BadSample(sample.where, f"{reason}: {error.problem}; {error.cure}", path=shown) from error
        except (ValueError, TypeError) as error:
            raise BadSample(sample.where, f"settings of its video: {error}", path=shown) from error

    def _file_of(self, source: Any, sample: Sample) -> Any:
        encoded = isinstance(source, bytes | bytearray)
        return source if encoded else str(resolve_media(source, sample.root, sample.where))

    def _open_image(self, source: Any, sample: Sample, min_pixels: int, max_pixels: int) -> Frames | Image:
        """A large image through the cache, any other as it is. Raises BadSample."""
        named = isinstance(source, str | Path | bytes | bytearray)
        if self.cache is not None and named:
            kept = self._kept_picture(self._file_of(source, sample), sample.where, min_pixels, max_pixels)
            if kept is not None:
                return kept
        return load_image(source, sample.root, sample.where)

    def _kept_picture(self, file: Any, row: str, min_pixels: int, max_pixels: int) -> Frames | None:
        from video import Budget, ImageSpec, VideoError
        from video.provenance import open_image

        try:
            with open_image(file) as image:
                small = image.width * image.height < self.cache.image_pixels
                if small or image.mode == "F" or image.mode.startswith("I"):
                    return None
            return self.cache.get(file, ImageSpec(Budget(self.factor, min_pixels, max_pixels)))
        except VideoError as error:
            raise BadSample(row, f"image {error}", path=error.path) from error

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


def foreign_key(clip: Mapping[str, Any]) -> str | None:
    """What is wrong with the first key, by name, that no clip has; None where there is none."""
    foreign = sorted(set(clip) - set(CLIP_KEYS), key=str)
    return unknown("key of a video", foreign[0], CLIP_KEYS) if foreign else None


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
            config.folder,
            max_bytes=limit,
            compression=config.compression,
            fingerprint=config.fingerprint,
            image_pixels=config.image_pixels,
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
