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
    seconds_per_grid: Sequence[float],
    tokens_per_second: float | None,
) -> Tensor:
    """Positions of one prompt.

    Args:
        types_P: int64 [P], 0 on text, 1 on image tokens, 2 on video tokens.
        image_grid_thw, video_grid_thw: int64 [n, 3], patches in time, height and width, before merging.
        merge: patches merged along each side.
        seconds_per_grid: of each video, between its temporal patches.
        tokens_per_second: positions a second (Qwen2.5-VL); None: one a temporal patch (Qwen2-VL).

    Returns:
        int64 [3, P]: time, height and width. Where a prompt writes times between the frames of a video (Qwen3-VL), each
        frame is a picture of its own.
    """
    runs = [(kind, len(list(run))) for kind, run in groupby(types_P.tolist())]
    steps = [1.0 if tokens_per_second is None else tokens_per_second * s for s in seconds_per_grid]
    grids = {
        IMAGE: iter([(grid, 1.0) for grid in _sizes(image_grid_thw, merge)]),
        VIDEO: _video_grids(runs, _sizes(video_grid_thw, merge), steps),
    }
    parts: list[Tensor] = []
    start = 0
    for kind, length in runs:
        if kind == TEXT:
            part = torch.arange(length).expand(3, -1)
        else:
            (t, h, w), step = next(grids[kind])
            times = (torch.arange(t, dtype=torch.float32) * step).long()
            part = torch.stack(
                [x.flatten() for x in torch.meshgrid(times, torch.arange(h), torch.arange(w), indexing="ij")]
            )
        parts.append(part + start)
        start = int(parts[-1].max()) + 1
    return torch.cat(parts, dim=1)


def _sizes(grid_thw: Tensor | None, merge: int) -> list[tuple[int, int, int]]:
    return [(t, h // merge, w // merge) for t, h, w in grid_thw.tolist()] if grid_thw is not None else []


def _video_grids(runs, sizes, steps) -> Iterator[tuple[tuple[int, int, int], float]]:
    """Each run of video tokens with its grid: a whole video, or one of its frames where text parts them."""
    lengths = iter(length for kind, length in runs if kind == VIDEO)
    for (t, h, w), step in zip(sizes, steps, strict=True):
        length = next(lengths)
        if length == t * h * w:
            yield (t, h, w), step
            continue
        yield (1, h, w), step
        for _ in range(t - 1):
            next(lengths)
            yield (1, h, w), step
