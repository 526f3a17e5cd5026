"""From an observation to token ids and pixels, as OpenVLA's published processor does it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmrl.contracts.errors import CheckpointError, unknown
from mmrl.policies.openvla.model import FEATURE

STRATEGIES = ("resize-naive", "resize-crop", "letterbox")
# Pillow's resampling filters by the names of timm's configurations.
FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "lanczos")}


@dataclass(frozen=True, slots=True, eq=False)
class OpenVLAPrompt:
    """One prepared observation.

    Attributes:
        input_ids: int64 [P], with -1 where image patches and the state's token go, right behind the start token.
        pixels: uint8 [N, 3, S, S], the cameras' images; normalised on the device, once for each vision backbone.
        state: float32 [S] normalised, or None for a policy without proprioception.
    """

    input_ids: Tensor
    pixels: Tensor
    state: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens, image patches included."""
        return self.input_ids.shape[0]


@dataclass(frozen=True, slots=True)
class ImageTransform:
    """Resizing, cropping and each backbone's normalisation, from `preprocessor_config.json`.

    Attributes:
        size: pixels per side.
        strategy: `resize-naive` (aspect not kept), `resize-crop`, or `letterbox` (padded to a square with `fill`).
        means, stds: of each backbone, over RGB in [0, 1].
        crop: share of the area that is kept around the centre and enlarged back, or None. Policies trained with
            random crops are run with the central one of the same area.
    """

    size: int
    strategy: str
    filter: Image.Resampling
    means: tuple[tuple[float, ...], ...]
    stds: tuple[tuple[float, ...], ...]
    fill: tuple[int, ...] = (0, 0, 0)
    crop: float | None = None

    @classmethod
    def read(cls, folder: Path, crop: float | None = None) -> ImageTransform:
        """The transform of a checkpoint folder.

        Raises:
            CheckpointError: no preprocessor_config.json, or one that this cannot follow.
        """
        path = folder / "preprocessor_config.json"
        try:
            raw = json.loads(path.read_text())
            return cls._from(raw, crop)
        except FileNotFoundError:
            raise CheckpointError(f"policy.path: '{folder}' holds no preprocessor_config.json; copy it again") from None
        except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
            raise CheckpointError(f"policy.path: '{path}' is no OpenVLA preprocessor: {error!r}") from None

    @classmethod
    def _from(cls, raw: Mapping[str, Any], crop: float | None) -> ImageTransform:
        sizes = {tuple(size[-2:]) for size in raw["input_sizes"]}
        kinds = set(raw["interpolations"])
        if len(sizes) > 1 or len(kinds) > 1 or len({*next(iter(sizes))}) > 1:
            raise ValueError(f"backbones with images of other sizes or resampling ({sorted(sizes)}, {sorted(kinds)})")
        if raw["image_resize_strategy"] not in STRATEGIES:
            raise ValueError(unknown("image_resize_strategy", raw["image_resize_strategy"], STRATEGIES))
        # Published files hold rounded values here, and these are the ones that their processor applies.
        norms = raw.get("tvf_normalize_params")
        means = [n["mean"] for n in norms] if norms else raw["means"]
        stds = [n["std"] for n in norms] if norms else raw["stds"]
        fill = raw.get("tvf_letterbox_fill") or [int(255 * x) for x in raw["means"][-1]]
        return cls(
            size=next(iter(sizes))[0],
            strategy=raw["image_resize_strategy"],
            filter=FILTERS[next(iter(kinds))],
            means=tuple(map(tuple, means)),
            stds=tuple(map(tuple, stds)),
            fill=tuple(fill),
            crop=crop,
        )

    def resize(self, images: Sequence[Image.Image]) -> Tensor:
        """uint8 [N, 3, size, size]."""
        arrays = [np.asarray(self._fit(image), dtype=np.uint8) for image in images]
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
        return pixels if self.crop is None else centre_crop(pixels, self.crop)

    def _fit(self, image: Image.Image) -> Image.Image:
        side = self.size
        if image.size == (side, side):
            return image
        if self.strategy == "resize-naive":
            return image.resize((side, side), self.filter)
        if self.strategy == "letterbox":
            longest = max(image.size)
            left, top = ((longest - edge) // 2 for edge in image.size)
            # The border is as wide on both sides, so an odd difference leaves one pixel for the crop below.
            padded = Image.new("RGB", (image.width + 2 * left, image.height + 2 * top), self.fill)
            padded.paste(image, (left, top))
            image = padded
        width, height = (side * edge // min(image.size) for edge in image.size)
        image = image.resize((width, height), self.filter)
        left, top = (round((edge - side) / 2) for edge in image.size)
        return image.crop((left, top, left + side, top + side))

    def normalise(self, pixels_N3HW: Tensor) -> Tensor:
        """float32 [N, 3 x backbones, H, W]: every backbone's channels of uint8 images."""
        scaled = pixels_N3HW.float() / 255.0
        channels = [
            (scaled - scaled.new_tensor(mean)[:, None, None]) / scaled.new_tensor(std)[:, None, None]
            for mean, std in zip(self.means, self.stds)
        ]
        return torch.cat(channels, 1)


def centre_crop(pixels_N3HW: Tensor, area: float) -> Tensor:
    """uint8, same shape: the central `area` of each image, enlarged bilinearly with corners aligned.

    TensorFlow's crop_and_resize and convert_image_dtype, which published evaluations use, sample and round like this.
    """
    count, _, height, width = pixels_N3HW.shape
    side = math.sqrt(area)
    grid = torch.stack(
        torch.meshgrid(torch.linspace(-side, side, width), torch.linspace(-side, side, height), indexing="xy"), -1
    )
    scaled = pixels_N3HW.float() / 255.0
    cropped = torch.nn.functional.grid_sample(scaled, grid.expand(count, -1, -1, -1), align_corners=True)
    return (cropped * 255.5).clamp(0, 255).to(torch.uint8)


def prompt_ids(instruction: str, tokenizer: Any) -> list[int]:
    """Token ids of OpenVLA's prompt, start token first.

    They end with the token of a lone space (29871 in Llama's vocabulary): in training the answer began with it.
    """
    text = f"In: What action should the robot take to {instruction.lower()}?\nOut:"
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    space = tokenizer.convert_tokens_to_ids("▁")
    return ids if ids[-1] == space else [*ids, space]


def with_features(ids: Sequence[int], count: int) -> Tensor:
    """int64: the ids with `count` places for features behind the start token."""
    return torch.tensor([ids[0], *[FEATURE] * count, *ids[1:]], dtype=torch.long)
