"""M-RoPE positions of Qwen-VL prompts (Qwen2-VL, arXiv 2409.12191, section 2.1; Qwen2.5-VL, arXiv 2502.13923).

The published models continue text after an image or video at the largest position so far plus 1. transformers from 5.3
on continues at the start plus the larger side of a frame, which for a video of more patches in time than in space puts
the question among the video's own times (huggingface/transformers#45381). This is the published rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

TEXT, IMAGE, VIDEO = 0, 1, 2


def mrope_positions(
    types_P: Tensor,
    image_grid_thw: Tensor | None,
    video_grid_thw: Tensor | None,
    merge: int,
    patch_seconds: Sequence[float | Sequence[float]],
    tokens_per_second: float | None,
) -> Tensor:
    """Positions of one prompt.

    Args:
        types_P: int64 [P], 0 on text, 1 on image tokens, 2 on video tokens.
        image_grid_thw, video_grid_thw: int64 [n, 3], patches in time, height and width, before merging.
        merge: patches merged along each side.
        patch_seconds: of each video, the seconds between its temporal patches, or those of each patch.
        tokens_per_second: positions per second (Qwen2.5-VL); None: one per temporal patch (Qwen2-VL).

    Returns:
        int64 [3, P]: time, height and width. Where a prompt writes times between the frames of a video (Qwen3-VL), each
        frame is a picture of its own.
    """
    runs = [(kind, len(list(run))) for kind, run in groupby(types_P.tolist())]
    videos = _sizes(video_grid_thw, merge)
    times = [_times(t, seconds, tokens_per_second) for (t, _, _), seconds in zip(videos, patch_seconds, strict=True)]
    grids = {
        IMAGE: iter([(grid, torch.zeros(1, dtype=torch.long)) for grid in _sizes(image_grid_thw, merge)]),
        VIDEO: _video_grids(runs, videos, times),
    }
    parts: list[Tensor] = []
    start = 0
    for kind, length in runs:
        if kind == TEXT:
            part = torch.arange(length).expand(3, -1)
        else:
            (_, h, w), times_T = next(grids[kind])
            part = torch.stack(
                [x.flatten() for x in torch.meshgrid(times_T, torch.arange(h), torch.arange(w), indexing="ij")]
            )
        parts.append(part + start)
        start = int(parts[-1].max()) + 1
    return torch.cat(parts, dim=1)


def _sizes(grid_thw: Tensor | None, merge: int) -> list[tuple[int, int, int]]:
    return [(t, h // merge, w // merge) for t, h, w in grid_thw.tolist()] if grid_thw is not None else []


def _times(patches: int, seconds: float | Sequence[float], tokens_per_second: float | None) -> Tensor:
    """int64 [T]: the position of each temporal patch of a video, fractions cut off."""
    if tokens_per_second is None:
        return torch.arange(patches)
    if isinstance(seconds, float):
        # In float32, as published: elsewhere a product of 2.9999 may become 3.
        return (torch.arange(patches, dtype=torch.float32) * (tokens_per_second * seconds)).long()
    return (torch.tensor(seconds, dtype=torch.float32) * tokens_per_second).long()


def _video_grids(runs, sizes, times) -> Iterator[tuple[tuple[int, int, int], Tensor]]:
    """Each run of video tokens with its grid: a whole video, or one of its frames where text parts them."""
    lengths = iter(length for kind, length in runs if kind == VIDEO)
    for (t, h, w), times_T in zip(sizes, times, strict=True):
        length = next(lengths)
        if length == t * h * w:
            yield (t, h, w), times_T
            continue
        yield (1, h, w), times_T[:1]
        for _ in range(t - 1):
            next(lengths)
            yield (1, h, w), times_T[:1]
