"""Frames of one size become frames of another."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resize_frames(frames_TCHW: "torch.Tensor", size: tuple[int, int]) -> "torch.Tensor":
    """Antialiased bicubic resampling of uint8 frames [T, C, H, W] to uint8 [T, C, size[0], size[1]].

    The arithmetic is float32 with one clamp and one rounding at the end, as torchvision's tensor resize does it and
    with it qwen-vl-utils; torch's uint8 kernel clamps between the two passes and differs by several levels at edges.
    """
    import torch
    from torch.nn.functional import interpolate

    if tuple(frames_TCHW.shape[-2:]) == tuple(size):
        return frames_TCHW
    exact = interpolate(frames_TCHW.float(), size=tuple(size), mode="bicubic", antialias=True, align_corners=False)
    return exact.clamp_(0, 255).round_().to(torch.uint8)
