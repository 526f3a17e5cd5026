"""Video decoding, frame sampling, pixel budgets and the tensor cache. Nothing heavy is imported before it is used."""

from importlib import import_module
from typing import TYPE_CHECKING

from video.types import Budget, Frames, ImageSpec, Sampling, VideoError, VideoMetadata, VideoSpec

if TYPE_CHECKING:
    from video.cache import TensorCache
    from video.prefetch import Prefetcher
    from video.reading import probe, read, read_frames, read_image

_LAZY = {
    "probe": "video.reading",
    "read": "video.reading",
    "read_frames": "video.reading",
    "read_image": "video.reading",
    "TensorCache": "video.cache",
    "Prefetcher": "video.prefetch",
}

__all__ = [
    "Budget",
    "Frames",
    "ImageSpec",
    "Prefetcher",
    "Sampling",
    "TensorCache",
    "VideoError",
    "VideoMetadata",
    "VideoSpec",
    "probe",
    "read",
    "read_frames",
    "read_image",
]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'video' has no attribute {name!r}")
