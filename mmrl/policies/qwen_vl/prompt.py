"""Prepared prompts of the Qwen-VL families: tokens, pixels and M-RoPE positions, made once per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.data.marks import refuse_wrong_marks
from mmrl.data.media_reader import MediaReader, image_budget
from mmrl.data.videos import clip_start
from mmrl.policies.chat_template import rendered_sample
from mmrl.policies.qwen_vl.mrope import mrope_positions

if TYPE_CHECKING:
    from video import Frames


@dataclass(frozen=True, slots=True)
class PromptVideo:
    """One video of a prompt.

    Attributes:
        timestamps: seconds of each frame read, on the clock that its targets are in (`MediaReader.origins`).
        size: (width, height) of the source.
        resized: (width, height) as the model sees it.
        patch_seconds: seconds between temporal patches, the first at 0, or those of each on that clock where they do
            not come evenly or begin later; what Qwen2.5-VL's time positions count.
    """

    timestamps: tuple[float, ...]
    size: tuple[int, int]
    resized: tuple[int, int]
    patch_seconds: float | tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class QwenPrompt:
    """One prepared prompt.

    Attributes:
        input_ids: int64 [P], image placeholders expanded.
        positions: int64 [3, P], M-RoPE positions (time, height, width).
        pixel_values: float32 [N, D] patches of all images, or None.
        image_grid_thw: int64 [I, 3] patches per image, or None.
        image_sizes: (width, height) of each image as loaded.
        resized: (width, height) of each image as the model sees it.
        pixel_values_videos: float32 [M, D] patches of all videos, or None.
        video_grid_thw: int64 [V, 3] patches per video, or None.
        clips: what was read of each video.
    """

    input_ids: Tensor
    positions: Tensor
    pixel_values: Tensor | None
    image_grid_thw: Tensor | None
    image_sizes: tuple[tuple[int, int], ...]
    resized: tuple[tuple[int, int], ...]
    pixel_values_videos: Tensor | None = None
    video_grid_thw: Tensor | None = None
    clips: tuple[PromptVideo, ...] = ()

    @property
    def length(self) -> int:
        """Prompt tokens, image placeholders expanded."""
        return self.input_ids.shape[0]

    @property
    def frames(self) -> int:
        """Frames read of all its videos."""
        return sum(len(clip.timestamps) for clip in self.clips)


def prepare_prompt(
    sample: Sample, processor: Any, tokens_per_second: float | None, max_tokens: int | None, videos: MediaReader
) -> QwenPrompt:
    """Runs the checkpoint's own chat template and processor on one sample.

    Args:
        processor: the checkpoint's processor, its pixel budget already set.
        tokens_per_second: the model's time positions per second, None where it counts temporal patches.
        max_tokens: prompts longer than this are refused, never cut: cutting would split image placeholders.
        videos: reads the sample's videos.

    Raises:
        BadSample: unreadable image or video, a count of them that does not match the marks, or a prompt over the limit.
    """
    refuse_wrong_marks(sample, (processor.image_token, processor.video_token))
    size = image_budget(videos.image_size, sample)
    images, sizes, image_settings = _load_images(sample, videos, size)
    frames, origins = videos.read(sample), videos.origins(sample)
    text = rendered_sample(processor, sample)
    try:
        encoded = processor(
            text=[text],
            images=images or None,
            videos=[video.pixels for video in frames] or None,
            images_kwargs=image_settings,
            videos_kwargs=video_settings(frames, origins),
            return_tensors="pt",
        )
    except ValueError as error:
        raise BadSample(sample.where, f"the processor refused it: {' '.join(str(error).split())}") from None
    input_ids = encoded["input_ids"][0]
    if max_tokens is not None and len(input_ids) > max_tokens:
        raise BadSample(
            sample.where,
            f"the prompt has {len(input_ids)} tokens, above policy.max_prompt_tokens {max_tokens}; "
            "raise it or lower policy.image.max_pixels, policy.video.max_pixels or the number of frames",
        )
    grid, video_grid = encoded.get("image_grid_thw"), encoded.get("video_grid_thw")
    factor = processor.video_processor.temporal_patch_size
    starts = [clip_start(source) for source in sample.videos]
    clips = tuple(_clip(*video, factor) for video in zip(frames, origins, starts, strict=True))
    seconds = [clip.patch_seconds for clip in clips]
    merge, types = processor.image_processor.merge_size, encoded["mm_token_type_ids"][0]
    positions = mrope_positions(types, grid, video_grid, merge, seconds, tokens_per_second)
    patch = processor.image_processor.patch_size
    resized = tuple((int(w) * patch, int(h) * patch) for _, h, w in (grid.tolist() if grid is not None else ()))
    return QwenPrompt(
        input_ids,
        positions,
        encoded.get("pixel_values"),
        grid,
        sizes,
        resized,
        encoded.get("pixel_values_videos"),
        video_grid,
        clips,
    )


def _load_images(
    sample: Sample, videos: MediaReader, size: Mapping[str, int]
) -> tuple[list[Image.Image], tuple[tuple[int, int], ...], dict[str, Any]]:
    """The sample's pictures, (width, height) of each as it is in its file, and the processor's settings for them."""
    bounds = (size["shortest_edge"], size["longest_edge"])
    loaded = [videos.image(source, sample, *bounds) for source in sample.images]
    sizes = tuple(shown for _, shown in loaded)
    if all(image.size == shown for image, shown in loaded):
        return [image for image, _ in loaded], sizes, {"size": size}
    # One that the cache has sized must not be sized again: of what the rule gives, the rule may give another size.
    images = [videos.sized(image, sample, *bounds) if image.size == shown else image for image, shown in loaded]
    return images, sizes, {"do_resize": False}


def video_settings(frames: Sequence[Frames], origins: Sequence[float]) -> dict[str, Any]:
    """Frames come sampled and sized; what is left to the processor is patches and, for Qwen3-VL, written times.

    Args:
        origins: of each video, the second that is written as 0.
    """
    from transformers.video_utils import VideoMetadata

    if not frames:
        return {}
    metadata = []
    for video, origin in zip(frames, origins, strict=True):
        fps, taken = video.metadata.fps, len(video)
        # Qwen3-VL writes index / fps: true times where frames do not come at equal distances.
        regular = [index / fps for index in video.metadata.indices]
        times = video.timestamps.tolist()
        even = all(abs(a - b) < 1e-3 for a, b in zip(regular, times, strict=True))
        own = even and origin == 0
        indices = list(video.metadata.indices) if own else [time * fps for time in _since(times, origin)]
        # The processor takes the sampled rate for frames / total x fps.
        total = taken * fps / _sampled_fps(video)
        metadata.append(VideoMetadata(total_num_frames=total, fps=fps, frames_indices=indices))
    return {"do_sample_frames": False, "do_resize": False, "video_metadata": metadata}


def _sampled_fps(frames: Frames) -> float:
    """Frames read per second of the clip; of uneven times, by their mean distance."""
    if frames.metadata.sampled_fps is not None:
        return frames.metadata.sampled_fps
    times = frames.timestamps.tolist()
    span = max(times) - min(times)
    return (len(times) - 1) / span if span > 0 else frames.metadata.fps


def _clip(frames: Frames, origin: float, start: float, temporal_patch: int) -> PromptVideo:
    """What was read of a video.

    Args:
        origin: the second that counts as 0.
        start: where the clip begins.
    """
    height, width = frames.pixels.shape[-2:]
    source = (frames.metadata.width, frames.metadata.height)
    times, rate = _since(frames.timestamps.tolist(), origin), frames.metadata.sampled_fps
    seconds: float | tuple[float, ...] = times[::temporal_patch]
    if rate is not None:
        seconds, first = temporal_patch / rate, start - origin
        if first > 0:
            seconds = tuple(first + patch * seconds for patch in range(len(times[::temporal_patch])))
    return PromptVideo(times, source, (width, height), seconds)


def _since(times: Sequence[float], origin: float) -> tuple[float, ...]:
    """Seconds since `origin`; a frame that is on screen there already counts from it."""
    return tuple(max(0.0, time - origin) for time in times)


def stack_pixels(prompts: Sequence[QwenPrompt], device: torch.device) -> dict[str, Tensor]:
    """Patches and grids of all prompts' images and videos, in order; nothing where there are none."""
    stacked = {}
    for name in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw"):
        values = [getattr(p, name) for p in prompts if getattr(p, name) is not None]
        if values:
            stacked[name] = torch.cat(values).to(device)
    return stacked
