"""Prepared prompts of the Qwen-VL families: tokens, pixels and M-RoPE positions, made once per sample."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmrl.data.media import load_image
from mmrl.errors import BadSample, unknown
from mmrl.types import Sample

# A bracketed list of exactly four numbers: how every dataset format here writes a box inside text.
_BOX = re.compile(
    r"\[\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\]"
)


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
    """

    input_ids: Tensor
    positions: Tensor
    pixel_values: Tensor | None
    image_grid_thw: Tensor | None
    image_sizes: tuple[tuple[int, int], ...]
    resized: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        """Prompt tokens, image placeholders expanded."""
        return len(self.input_ids)


def prepare_prompt(sample: Sample, processor: Any, rope_index: Any, max_tokens: int | None) -> QwenPrompt:
    """Runs the checkpoint's own chat template and processor on one sample.

    Args:
        processor: the checkpoint's processor, its pixel budget already set.
        rope_index: the model's `get_rope_index`.
        max_tokens: prompts longer than this are refused, never cut: cutting would split image placeholders.

    Raises:
        BadSample: unreadable image, image count that does not match the tags, or a prompt over the limit.
    """
    if sample.videos:
        raise BadSample(sample.where, "has videos, which this policy does not read yet; use images")
    parts = [p for m in sample.messages if not isinstance(m["content"], str) for p in m["content"]]
    marks = sum(part.get("type") == "image" for part in parts)
    if marks != len(sample.images):
        raise BadSample(sample.where, f"{marks} image marks in the messages but {len(sample.images)} images")
    texts = [m["content"] for m in sample.messages if isinstance(m["content"], str)] + [
        p.get("text", "") for p in parts
    ]
    for mark in (processor.image_token, processor.video_token):
        # In text it would be taken for an image that is not there.
        if any(mark in text for text in texts):
            raise BadSample(sample.where, f"its text holds the placeholder {mark}; use an image part, or remove it")
    images = [load_image(image, sample.root, sample.where) for image in sample.images]
    text = processor.apply_chat_template(list(sample.messages), add_generation_prompt=True, tokenize=False)
    try:
        encoded = processor(text=[text], images=images or None, return_tensors="pt")
    except ValueError as error:
        raise BadSample(sample.where, f"the processor refused it: {' '.join(str(error).split())}") from None
    input_ids = encoded["input_ids"][0]
    if max_tokens is not None and len(input_ids) > max_tokens:
        raise BadSample(
            sample.where,
            f"the prompt has {len(input_ids)} tokens, above policy.max_prompt_tokens {max_tokens}; "
            "raise it or lower policy.image.max_pixels",
        )
    grid = encoded.get("image_grid_thw")
    types = encoded["mm_token_type_ids"]
    positions = rope_index(encoded["input_ids"], mm_token_type_ids=types, image_grid_thw=grid)[0][:, 0]
    patch = processor.image_processor.patch_size
    resized = tuple((int(w) * patch, int(h) * patch) for _, h, w in (grid.tolist() if grid is not None else ()))
    sizes = tuple(image.size for image in images)
    return QwenPrompt(input_ids, positions, encoded.get("pixel_values"), grid, sizes, resized)


def localise(sample: Sample, prompt: QwenPrompt, convention: str) -> Sample:
    """Converts the sample's boxes, in its target and its demonstration, to the model's convention.

    Args:
        convention: `resized_pixel` (pixels of the image as the model sees it) or `norm1000`.

    `target["image"]` (default 0) says which image the boxes refer to. The returned sample's `coordinates` is
    `norm1000` or `WxH`, the size that the pixels refer to.

    Raises:
        BadSample: boxes on an image that is not there, or in coordinates that are not known.
    """
    if not ({"box", "boxes"} & set(sample.target)) or not prompt.resized:
        return sample
    index = int(sample.target.get("image", 0))
    if not 0 <= index < len(prompt.image_sizes):
        raise BadSample(sample.where, f"the target's boxes are on image {index} of {len(prompt.image_sizes)}")
    sources = {"pixel": prompt.image_sizes[index], "norm1000": (1000, 1000), "norm1": (1, 1)}
    if sample.coordinates not in sources:
        raise BadSample(sample.where, unknown("coordinates", sample.coordinates, sources))
    source = sources[sample.coordinates]
    goal = (1000, 1000) if convention == "norm1000" else prompt.resized[index]
    name = "norm1000" if convention == "norm1000" else f"{goal[0]}x{goal[1]}"
    if source == goal:
        return replace(sample, coordinates=name)
    scale = (goal[0] / source[0], goal[1] / source[1])
    text = sample.demonstration
    if text is not None:
        text = _BOX.sub(lambda m: str(_scaled([float(g) for g in m.groups()], scale)), text)
    return replace(sample, target=_scaled_target(sample.target, scale), demonstration=text, coordinates=name)


def _scaled(box: Sequence[float], scale: tuple[float, float]) -> list[int]:
    return [round(value * scale[i % 2]) for i, value in enumerate(box)]


def _scaled_target(target: Mapping[str, Any], scale: tuple[float, float]) -> dict[str, Any]:
    result = dict(target)
    if "box" in target:
        result["box"] = _scaled(target["box"], scale)
    if "boxes" in target:
        result["boxes"] = [
            {**item, "box": _scaled(item["box"], scale)} if isinstance(item, Mapping) else _scaled(item, scale)
            for item in target["boxes"]
        ]
    return result


def stack_pixels(prompts: Sequence[QwenPrompt], device: torch.device) -> dict[str, Tensor]:
    """`pixel_values` and `image_grid_thw` of all prompts in order, or nothing where there are no images."""
    pixels = [p.pixel_values for p in prompts if p.pixel_values is not None]
    if not pixels:
        return {}
    grids = [p.image_grid_thw for p in prompts if p.image_grid_thw is not None]
    return {"pixel_values": torch.cat(pixels).to(device), "image_grid_thw": torch.cat(grids).to(device)}
