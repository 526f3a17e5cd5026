"""A decoder for cache tests: frames are a function of the source's bytes and the spec, and of nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from video.types import Budget, Frames, ImageSpec, Sampling, VideoError, VideoMetadata, VideoSpec

SPEC = VideoSpec(Sampling(frames=6), Budget(factor=28))
IMAGE = ImageSpec(Budget(factor=28))


def fake_decode(source, spec) -> Frames:
    """uint8 [6, 3, 20, 24] (one frame for images) of noise, seeded by the source's content and the spec."""
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    if content.startswith(b"broken"):
        raise VideoError("not_a_video", source, "the bytes are no container", "give a video")
    seed = int.from_bytes(hashlib.sha256(content + spec.canonical_json().encode()).digest()[:8], "little")
    random = torch.Generator().manual_seed(seed >> 1)
    count = 1 if spec.kind == "image" else spec.sampling.frames
    pixels = torch.randint(0, 256, (count, 3, 20, 24), generator=random, dtype=torch.uint8)
    timestamps = torch.rand(count, generator=random, dtype=torch.float64).cumsum(0)
    about = VideoMetadata(
        fps=2.0, total_frames=9, duration=4.5, width=24, height=20, rotation=90, codec="h264", backend="pyav",
        start_time=0.25, stream=1, indices=tuple(range(count)), sampled_fps=1.5,
    )  # fmt: skip
    return Frames(pixels, timestamps, about)


def write_source(folder: Path, name: str = "a.mp4", content: bytes = b"video a") -> Path:
    """A source file."""
    path = folder / name
    path.write_bytes(content)
    return path


def assert_same(found: Frames, expected: Frames) -> None:
    """Equal pixels, timestamps and metadata."""
    assert torch.equal(found.pixels, expected.pixels)
    assert torch.equal(found.timestamps, expected.timestamps)
    assert found.metadata == expected.metadata


class CountingDecoder:
    """`fake_decode` that counts its calls in this process."""

    def __init__(self):
        self.calls = 0

    def __call__(self, source, spec) -> Frames:
        self.calls += 1
        return fake_decode(source, spec)
