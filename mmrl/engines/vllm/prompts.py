"""What a prepared Qwen-VL prompt is for vLLM: the trainer's own ids, patches and grids, and where each item stands.

vLLM is not asked to process anything again: ids are expanded already, and pictures are patches already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xxhash
from torch import Tensor

from mmrl.policies.qwen_vl.prompt import QwenPrompt

IMAGE, VIDEO = "image", "video"


@dataclass(frozen=True, slots=True)
class Marks:
    """How a family's prompts hold pictures and videos.

    Attributes:
        image, video: ids of their tokens.
        merge: patches merged along each side.
        written_times: whether text stands between the frames of a video (Qwen3-VL).
    """

    image: int
    video: int
    merge: int
    written_times: bool

    @classmethod
    def of(cls, config: Any) -> Marks:
        """Those of a transformers config."""
        written = config.model_type.startswith("qwen3")
        return cls(config.image_token_id, config.video_token_id, config.vision_config.spatial_merge_size, written)


@dataclass(frozen=True, slots=True)
class Item:
    """A picture or a video of a prompt.

    Attributes:
        kind: `IMAGE` or `VIDEO`.
        offset, length: the tokens of the prompt that it takes.
        embedded: bool [length], those of them that it is embedded in; None: all.
        digest: of its patches, its grid and its times. Two items that share it may share what the engine has computed,
            positions included, so the times belong to it.
    """

    kind: str
    offset: int
    length: int
    embedded: Tensor | None
    digest: str


@dataclass(frozen=True, slots=True)
class EnginePrompt:
    """A prompt as vLLM takes it.

    Attributes:
        ids: token ids, with those of a prefix behind them.
        tensors: `pixel_values` float32 [N, D], `image_grid_thw` int64 [I, 3] and those of videos, where there are any.
        seconds: of each video float64 [1], the seconds between its temporal patches, or [T], those of each.
        items: pictures and videos, each kind in the order of its tensors.
    """

    ids: list[int]
    tensors: dict[str, Tensor]
    seconds: tuple[Tensor, ...]
    items: tuple[Item, ...]

    def of(self, kind: str) -> list[Item]:
        """The items of a kind, in order."""
        return [item for item in self.items if item.kind == kind]


def engine_prompt(prompt: QwenPrompt, marks: Marks, prefix: Tensor | None = None) -> EnginePrompt:
    """The prompt with the tokens of its pictures and videos found.

    Args:
        prefix: int64 [K], units that stand behind the prompt and are continued.

    Raises:
        ValueError: it has more or fewer tokens of them than its grids.
    """
    ids = prompt.input_ids.tolist()
    tensors = {
        name: getattr(prompt, name)
        for name in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
        if getattr(prompt, name) is not None
    }
    seconds = tuple(_seconds(clip.patch_seconds) for clip in prompt.clips)
    items = [
        *_items(IMAGE, prompt.input_ids, prompt.pixel_values, prompt.image_grid_thw, (), marks),
        *_items(VIDEO, prompt.input_ids, prompt.pixel_values_videos, prompt.video_grid_thw, seconds, marks),
    ]
    return EnginePrompt(ids + ([] if prefix is None else prefix.tolist()), tensors, seconds, tuple(items))


def _seconds(patch_seconds: float | Sequence[float]) -> Tensor:
    values = [patch_seconds] if isinstance(patch_seconds, float) else list(patch_seconds)
    return torch.tensor(values, dtype=torch.float64)


def _items(
    kind: str,
    ids_P: Tensor,
    patches_ND: Tensor | None,
    grid_thw: Tensor | None,
    seconds: Sequence[Tensor],
    marks: Marks,
) -> list[Item]:
    """The items of one kind: each takes the next tokens of its mark, as many as its merged patches."""
    places = (ids_P == (marks.image if kind == IMAGE else marks.video)).nonzero().squeeze(-1).tolist()
    grids = grid_thw.tolist() if grid_thw is not None else []
    sizes = [t * h * w // marks.merge**2 for t, h, w in grids]
    if sum(sizes) != len(places):
        raise ValueError(f"a prompt has {len(places)} {kind} tokens, and its grids are of {sum(sizes)}")
    items, token, patch = [], 0, 0
    for i, ((t, h, w), size) in enumerate(zip(grids, sizes, strict=True)):
        own = places[token : token + size]
        first, last = own[0], own[-1]
        embedded = None
        if kind == VIDEO and marks.written_times:
            # vLLM looks for the first frame's <|vision_start|> from the offset on.
            first -= 1
            embedded = torch.zeros(last + 1 - first, dtype=torch.bool)
            embedded[torch.tensor(own) - first] = True
        assert patches_ND is not None
        digest = _digest(patches_ND[patch : patch + t * h * w], (t, h, w), seconds[i] if seconds else None)
        items.append(Item(kind, first, last + 1 - first, embedded, digest))
        token, patch = token + size, patch + t * h * w
    return items


def _digest(patches_ND: Tensor, grid: tuple[int, int, int], seconds: Tensor | None) -> str:
    digest = xxhash.xxh3_128(repr((grid, None if seconds is None else seconds.tolist())).encode())
    digest.update(patches_ND.contiguous().numpy().data)
    return digest.hexdigest()
