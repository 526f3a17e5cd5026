"""Reads frames: source and spec in, `Frames` out."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from video import backends
from video.images import folder_frames, load_image, load_images
from video.paths import resolve, source_name
from video.resize import resize_frames
from video.sampling import Choice, Timeline, choose
from video.scan import AGAIN, Scan, scan_file
from video.sizes import image_size, video_size
from video.soundness import require_sound
from video.types import Budget, Frames, ImageSpec, Sampling, Spec, VideoError, VideoMetadata, VideoSpec

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

IMAGES = "images"
# Full-size float32 frames held at once while resizing.
RESIZE_BYTES = 64 << 20
NOTHING = Choice((), None)


def read_frames(
    source: Any,
    *,
    budget: Budget | None = None,
    fps: float | None = None,
    frames: int | None = None,
    timestamps: Sequence[float] | None = None,
    all_frames: bool = False,
    min_frames: int | None = None,
    max_frames: int | None = None,
    frame_factor: int = 2,
    start: float | None = None,
    end: float | None = None,
    rounding: str = "qwen",
    backend: str = "auto",
    truncated: str = "refuse",
    stream: int | None = None,
    source_fps: float = 2.0,
    root: str | os.PathLike[str] | None = None,
    threads: int = 0,
) -> Frames:
    """Frames of a video, uint8 [T, 3, H, W], with the times at which they are shown.

    Exactly one of `fps`, `frames`, `timestamps`, `all_frames` says which frames; see `Sampling` and `VideoSpec` for
    each setting, and `read` for `source`, `root` and `threads`. Times count from the first frame.

    Raises:
        VideoError: with a reason of `video.types.REASONS`, the path and the cure.
    """
    sampling = Sampling(
        fps=fps,
        frames=frames,
        timestamps=None if timestamps is None else tuple(timestamps),
        all_frames=all_frames,
        min_frames=min_frames,
        max_frames=max_frames,
        frame_factor=frame_factor,
        start=start,
        end=end,
        rounding=rounding,
    )
    spec = VideoSpec(sampling, budget, backend, truncated, stream, source_fps)
    return read(source, spec, root=root, threads=threads)


def read_image(source: Any, budget: Budget | None = None, *, root: str | os.PathLike[str] | None = None) -> Frames:
    """One image (path, PIL image or uint8 array [H, W, 3]) as frames with T = 1, sized as `fetch_image` does."""
    return read(source, ImageSpec(budget), root=root)


def read(source: Any, spec: Spec, *, root: str | os.PathLike[str] | None = None, threads: int = 0) -> Frames:
    """What a spec takes of a source. Safe in threads and in worker processes: nothing is shared between calls.

    Args:
        source: a video file or a folder of frames (path, may start with file://), or a list of images (paths, encoded
            bytes, PIL images or uint8 arrays [H, W, 3]); for an `ImageSpec`, one image.
        root: folder that every path must stay under after symlinks are followed; None allows any file.
        threads: decoding threads; 0 leaves it to FFmpeg, 1 suits a pool of workers. Changes no pixel.

    Raises:
        VideoError: with a reason of `video.types.REASONS`, the path and the cure.
    """
    if isinstance(spec, ImageSpec):
        return _read_image(source, spec, root)
    backends.check_name(spec.backend)
    if not isinstance(source, str | os.PathLike):
        return _read_list(_as_list(source), spec, root, source_name(source))
    path = resolve(source, root)
    if path.is_dir():
        return _read_list(folder_frames(path), spec, root, str(path))
    return _read_file(path, spec, threads)


def probe(source: Any, *, stream: int | None = None, root: str | os.PathLike[str] | None = None) -> VideoMetadata:
    """What a video file, a folder of frames or a list of images is, without decoding more than one frame.

    `backend` is the one that `auto` would try first.

    Raises:
        VideoError: as `read_frames`; a file that was cut short is described as far as it goes.
    """
    if isinstance(source, (str, os.PathLike)):
        path = resolve(source, root)
        if not path.is_dir():
            scan = scan_file(path, stream)
            return scan.metadata(backends.candidates("auto", scan)[0])
        source, name = folder_frames(path), str(path)
    else:
        source, name = _as_list(source), source_name(source)
    return _list_metadata(
        len(source), load_image(_first_of(source, name), root), VideoSpec(Sampling(all_frames=True), None)
    )


def _read_file(path: Path, spec: VideoSpec, threads: int) -> Frames:
    scan = scan_file(path, spec.stream)
    if not scan.broken:
        try:
            return _decode_file(scan, spec, threads)
        except VideoError as error:
            if error.reason != "truncated" or spec.truncated == "refuse":
                raise
    elif spec.truncated == "refuse":
        raise VideoError("truncated", path, f"the file was cut short: {scan.broken}", AGAIN)
    pyav = backends.load("pyav")
    scan = scan.only(pyav.decodable(scan))
    if not len(scan.pts):
        raise VideoError("truncated", path, "not one frame decodes", "fetch or encode the file again")
    return _decode_with("pyav", scan, spec, threads)


def _decode_file(scan: Scan, spec: VideoSpec, threads: int) -> Frames:
    names = backends.candidates(spec.backend, scan)
    for name in names[:-1]:
        try:
            return _decode_with(name, scan, spec, threads)
        except VideoError as error:
            if error.reason != "backend":
                raise
            log.info("%s; trying the next backend", error)
    return _decode_with(names[-1], scan, spec, threads)


def _decode_with(backend: str, scan: Scan, spec: VideoSpec, threads: int) -> Frames:
    choice = choose(spec.sampling, scan.timeline(), spec.budget)
    unique = sorted(set(choice.indices))
    patch, name = spec.sampling.frame_factor, str(scan.path)
    size = video_size(len(choice.indices), scan.height, scan.width, spec.budget, patch, name)
    decoder = backends.load(backend)
    require_sound(scan, unique, decoder.SEES_DAMAGE, threads)
    pixels = _collect(decoder.decode(scan, unique, threads), unique, choice, size)
    return _frames(pixels, scan.times, scan.metadata(backend, choice.indices, choice.sampled_fps))


def _read_list(sources: list[Any], spec: VideoSpec, root: Any, name: str) -> Frames:
    if not sources:
        raise VideoError("no_frames", name, "the list is empty", "give at least one image")
    timeline = Timeline(
        name, np.arange(len(sources)) / spec.source_fps, len(sources) / spec.source_fps, spec.source_fps
    )
    choice = choose(spec.sampling, timeline, spec.budget)
    unique = sorted(set(choice.indices))
    first = load_image(sources[unique[0]], root, f"frame {unique[0]} of {name}")
    size = video_size(len(choice.indices), *first.shape[:2], spec.budget, spec.sampling.frame_factor, name)
    pixels = _collect(load_images(sources, unique, root, name), unique, choice, size)
    return _frames(pixels, timeline.times, _list_metadata(len(sources), first, spec, choice))


def _read_image(source: Any, spec: ImageSpec, root: Any) -> Frames:
    import torch
    from PIL import Image

    if isinstance(source, (list, tuple)):
        raise VideoError("not_an_image", "image", f"a list of {len(source)}", "give one image, or a VideoSpec")
    image = load_image(source, root)
    height, width = image_size(*image.shape[:2], spec.budget, _name_of(source, "image"))
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].contiguous()
    metadata = _list_metadata(1, image, VideoSpec(Sampling(all_frames=True), spec.budget), Choice((0,), None))
    return Frames(pixels, torch.zeros(1, dtype=torch.float64), metadata)


def _list_metadata(count: int, first: np.ndarray, spec: VideoSpec, choice: Choice = NOTHING) -> VideoMetadata:
    return VideoMetadata(
        fps=spec.source_fps,
        total_frames=count,
        duration=count / spec.source_fps,
        width=first.shape[1],
        height=first.shape[0],
        rotation=0,
        codec=IMAGES,
        backend=IMAGES,
        indices=choice.indices,
        sampled_fps=choice.sampled_fps,
    )


def _as_list(source: Any) -> list[Any]:
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray | memoryview):
        return list(source)
    if isinstance(source, np.ndarray) and source.ndim == 4:
        return list(source)
    raise VideoError("not_a_video", source_name(source), "no path and no list", "give a path, or images as a list")


def _name_of(source: Any, kind: str) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else kind


def _first_of(sources: Sequence[Any], name: str) -> Any:
    if not len(sources):
        raise VideoError("no_frames", name, "the list is empty", "give at least one image")
    return sources[0]


def _collect(
    pictures: Iterator[np.ndarray], unique: Sequence[int], choice: Choice, size: tuple[int, int]
) -> "torch.Tensor":
    """Resizes pictures [H, W, 3] as they come and puts them where the choice wants them: uint8 [T, 3, *size]."""
    import torch

    out = torch.empty((len(unique), 3, *size), dtype=torch.uint8)
    filled, waiting = 0, []
    for picture in pictures:
        waiting.append(torch.from_numpy(np.require(picture, requirements=["C", "W"])))
        if len(waiting) * waiting[0].numel() * 4 >= RESIZE_BYTES or filled + len(waiting) == len(unique):
            out[filled : filled + len(waiting)] = resize_frames(torch.stack(waiting).permute(0, 3, 1, 2), size)
            filled, waiting = filled + len(waiting), []
    if filled != len(unique):
        raise RuntimeError(f"a backend gave {filled} of {len(unique)} frames without an error")
    if tuple(unique) == choice.indices:
        return out
    return out[torch.from_numpy(np.searchsorted(unique, choice.indices))]


def _frames(pixels: "torch.Tensor", times: np.ndarray, metadata: VideoMetadata) -> Frames:
    import torch

    return Frames(pixels, torch.from_numpy(times[list(metadata.indices)].astype(np.float64)), metadata)
