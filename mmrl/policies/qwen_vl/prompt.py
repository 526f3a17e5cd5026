"""Prepared prompts of the Qwen-VL families: tokens, pixels and M-RoPE positions, made once per sample."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from mmrl.contracts.errors import BadSample, unknown
from mmrl.contracts.types import Sample
from mmrl.data.videos import VideoReader, image_budget
from mmrl.policies.qwen_vl.mrope import mrope_positions

if TYPE_CHECKING:
    from video import Frames

# A bracketed list of exactly four numbers: how every dataset format here writes a box inside text.
_BOX = re.compile(
    r"\[\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\]"
)


# Keys of a target that hold boxes (one, several, bare or labelled, one a frame) or a point.
BOX_KEYS = {"box", "boxes", "track", "end_box", "point"}


@dataclass(frozen=True, slots=True)
class Clip:
    """One video of a prompt.

    Attributes:
        timestamps: seconds of each frame read.
        size: (width, height) of the source.
        resized: (width, height) as the model sees it.
        patch_seconds: seconds between temporal patches, or of each since the first where they do not come evenly; what
            Qwen2.5-VL's time positions count.
    """

    timestamps: tuple[float, ...]
    size: tuple[int, int]
    resized: tuple[int, int]
    patch_seconds: float | tuple[float, ...]


@dataclass(frozen=True, slots=True)
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
    clips: tuple[Clip, ...] = ()

    @property
    def length(self) -> int:
        """Prompt tokens, image placeholders expanded."""
        return len(self.input_ids)

    @property
    def frames(self) -> int:
        """Frames read of all its videos."""
        return sum(len(clip.timestamps) for clip in self.clips)


def prepare_prompt(
    sample: Sample, processor: Any, tokens_per_second: float | None, max_tokens: int | None, videos: VideoReader
) -> QwenPrompt:
    """Runs the checkpoint's own chat template and processor on one sample.

    Args:
        processor: the checkpoint's processor, its pixel budget already set.
        tokens_per_second: the model's time positions a second, None where it counts temporal patches.
        max_tokens: prompts longer than this are refused, never cut: cutting would split image placeholders.
        videos: reads the sample's videos.

    Raises:
        BadSample: unreadable image or video, a count of them that does not match the marks, or a prompt over the limit.
    """
    _refuse_wrong_marks(sample, (processor.image_token, processor.video_token))
    size = image_budget(videos.image_size, sample)
    images, sizes, image_settings = _load_images(sample, videos, size)
    frames = videos.read(sample)
    text = processor.apply_chat_template(list(sample.messages), add_generation_prompt=True, tokenize=False)
    try:
        encoded = processor(
            text=[text],
            images=images or None,
            videos=[one.pixels for one in frames] or None,
            images_kwargs=image_settings,
            videos_kwargs=video_settings(frames),
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
    clips = tuple(_clip(one, processor.video_processor.temporal_patch_size) for one in frames)
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


def _refuse_wrong_marks(sample: Sample, placeholders: Collection[str]) -> None:
    """Raises BadSample where marks and media differ in number, or the text itself holds a placeholder."""
    parts = [p for m in sample.messages if not isinstance(m["content"], str) for p in m["content"]]
    for kind, media in (("image", sample.images), ("video", sample.videos)):
        marks = sum(part.get("type") == kind for part in parts)
        if marks != len(media):
            raise BadSample(sample.where, f"{marks} {kind} marks in the messages but {len(media)} {kind}s")
    texts = [m["content"] for m in sample.messages if isinstance(m["content"], str)] + [
        p.get("text", "") for p in parts
    ]
    for mark in placeholders:
        # In text it would be taken for an image or video that is not there.
        if any(mark in text for text in texts):
            raise BadSample(
                sample.where, f"its text holds the placeholder {mark}; use an image or video part, or remove it"
            )


def _load_images(
    sample: Sample, videos: VideoReader, size: Mapping[str, int]
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


def video_settings(frames: Sequence[Frames]) -> dict[str, Any]:
    """Frames come sampled and sized; what is left to the processor is patches and, for Qwen3-VL, written times."""
    from transformers.video_utils import VideoMetadata

    if not frames:
        return {}
    metadata = []
    for one in frames:
        fps, taken = one.metadata.fps, len(one)
        # Qwen3-VL writes index / fps: true times where frames do not come at equal distances.
        regular = [index / fps for index in one.metadata.indices]
        times = one.timestamps.tolist()
        even = all(abs(a - b) < 1e-3 for a, b in zip(regular, times, strict=True))
        indices = list(one.metadata.indices) if even else [time * fps for time in times]
        # The processor takes the sampled rate for frames / total x fps.
        total = taken * fps / _sampled_fps(one)
        metadata.append(VideoMetadata(total_num_frames=total, fps=fps, frames_indices=indices))
    return {"do_sample_frames": False, "do_resize": False, "video_metadata": metadata}


def _sampled_fps(frames: Frames) -> float:
    """Frames read a second of the clip; of uneven times, by their mean distance."""
    if frames.metadata.sampled_fps is not None:
        return frames.metadata.sampled_fps
    times = frames.timestamps.tolist()
    span = max(times) - min(times)
    return (len(times) - 1) / span if span > 0 else frames.metadata.fps


def _clip(frames: Frames, temporal_patch: int) -> Clip:
    height, width = frames.pixels.shape[-2:]
    source = (frames.metadata.width, frames.metadata.height)
    times, rate = tuple(frames.timestamps.tolist()), frames.metadata.sampled_fps
    seconds = temporal_patch / rate if rate is not None else tuple(t - times[0] for t in times[::temporal_patch])
    return Clip(times, source, (width, height), seconds)


def localise(sample: Sample, prompt: QwenPrompt, convention: str) -> Sample:
    """Converts the sample's boxes, in its target and its demonstration, to the model's convention.

    Args:
        convention: `resized_pixel` (pixels of the image or frame as the model sees it) or `norm1000`.

    `target["image"]` or `target["video"]` (default: the first) says which one the boxes refer to. The returned
    sample's `coordinates` is `norm1000` or `WxH`, the size that the pixels refer to.

    Raises:
        BadSample: boxes on an image or video that is not there, or in coordinates that are not known.
    """
    if not (BOX_KEYS & set(sample.target)) or not (prompt.resized or prompt.clips):
        return sample
    shown, seen = _canvas(sample, prompt)
    sources = {"pixel": shown, "norm1000": (1000, 1000), "norm1": (1, 1)}
    if sample.coordinates not in sources:
        raise BadSample(sample.where, unknown("coordinates", sample.coordinates, sources))
    source = sources[sample.coordinates]
    goal = (1000, 1000) if convention == "norm1000" else seen
    name = "norm1000" if convention == "norm1000" else f"{goal[0]}x{goal[1]}"
    if source == goal:
        return replace(sample, coordinates=name)
    scale = (goal[0] / source[0], goal[1] / source[1])
    text = sample.demonstration
    if text is not None:
        text = _BOX.sub(lambda m: str(_scaled([float(g) for g in m.groups()], scale)), text)
    return replace(sample, target=_scaled_target(sample.target, scale), demonstration=text, coordinates=name)


def _canvas(sample: Sample, prompt: QwenPrompt) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of the image or video that the target's boxes are on, as loaded and as the model sees it."""
    on_video = "video" in sample.target or "track" in sample.target or not prompt.resized
    kind = "video" if on_video else "image"
    sizes = [(c.size, c.resized) for c in prompt.clips] if on_video else list(zip(prompt.image_sizes, prompt.resized))
    index = int(sample.target.get(kind, 0))
    if not 0 <= index < len(sizes):
        raise BadSample(sample.where, f"the target's boxes are on {kind} {index} of {len(sizes)}")
    return sizes[index]


def _scaled(values: Sequence[float], scale: tuple[float, float]) -> list[int]:
    """A box or point in whole units of another size; a side that is there stays one unit long at least."""
    found = [round(value * scale[i % 2]) for i, value in enumerate(values)]
    for low, high in ((0, 2), (1, 3)) if len(values) == 4 else ():
        if values[low] < values[high] and found[low] == found[high]:
            middle = (values[low] + values[high]) / 2 * scale[low]
            found[low] = math.floor(middle)
            found[high] = found[low] + 1
    return found


def _scaled_target(target: Mapping[str, Any], scale: tuple[float, float]) -> dict[str, Any]:
    result = dict(target)
    for key in ("box", "end_box", "point"):
        if target.get(key) is not None:
            result[key] = _scaled(target[key], scale)
    if "boxes" in target:
        result["boxes"] = [
            {**item, "box": _scaled(item["box"], scale)} if isinstance(item, Mapping) else _scaled(item, scale)
            for item in target["boxes"]
        ]
    if "track" in target:
        result["track"] = {
            frame: _scaled(box, scale) if box is not None else None for frame, box in target["track"].items()
        }
    return result


def stack_pixels(prompts: Sequence[QwenPrompt], device: torch.device) -> dict[str, Tensor]:
    """Patches and grids of all prompts' images and videos, in order; nothing where there are none."""
    stacked = {}
    for name in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw"):
        values = [getattr(p, name) for p in prompts if getattr(p, name) is not None]
        if values:
            stacked[name] = torch.cat(values).to(device)
    return stacked
