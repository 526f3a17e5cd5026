"""Frames in another order, or fewer of them: controls and augmentation, drawn by the sample and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

from mmrl.contracts.types import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from video import Frames


def draw_key(sample: Sample, position: int) -> str:
    """What the draws of a sample's video number `position` are seeded by: another in each epoch of training."""
    more = [f"video {position}"] * (position > 0) + [f"epoch {sample.epoch}"] * (sample.epoch > 0)
    return "\n".join([sample.id, *more])


def augmented(frames: Frames, key: str, shuffle: bool, drop: float, factor: int) -> Frames:
    """Frames in another order, or fewer of them; a function of the arguments alone.

    Args:
        key: seeds the draw; see `draw_key`.
        shuffle: permute the pictures and leave the times where they are (Video-R1's control, arXiv 2503.21776).
        drop: share of frames left out with their times; what stays is a multiple of `factor`, at least one. The first
            frame stays, since a policy's time positions count from there.
    """
    if not shuffle and not drop:
        return frames
    import torch

    seed = int.from_bytes(hashlib.blake2b(f"frames/{key}".encode(), digest_size=8).digest()) >> 1
    generator, count = torch.Generator().manual_seed(seed), len(frames)
    indices = torch.arange(count)
    if drop:
        wanted = max(factor, round(count * (1 - drop) / factor) * factor)
        others = 1 + torch.randperm(count - 1, generator=generator)[: wanted - 1]
        indices = torch.cat([indices[:1], others.sort().values])
    order = indices[torch.randperm(len(indices), generator=generator)] if shuffle else indices
    left = selected(frames, indices, None if drop else frames.metadata.sampled_fps)
    return dataclasses.replace(left, pixels=frames.pixels[order])


def selected(frames: Frames, indices: Tensor, rate: float | None) -> Frames:
    """Some of the frames (int64 indices) with their own times, at `rate` per second of the clip; None: not evenly."""
    taken = frames.metadata
    metadata = dataclasses.replace(taken, indices=tuple(taken.indices[i] for i in indices.tolist()), sampled_fps=rate)
    return dataclasses.replace(
        frames, pixels=frames.pixels[indices], timestamps=frames.timestamps[indices], metadata=metadata
    )
