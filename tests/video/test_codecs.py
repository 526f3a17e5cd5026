"""Stored forms of frames: exact where promised, close where promised, smaller on real video; and real decoding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.frames import assert_same
from tests.support.media import SHARED, needs_shared
from video import Budget, ImageSpec, Sampling, TensorCache, VideoSpec
from video.codecs import CODECS, decode, encode
from video.reading import read

VIDEOS = SHARED / "media" / "video"


def smooth(count: int = 4, height: int = 56, width: int = 84) -> torch.Tensor:
    """A bright blob that moves over a gradient: uint8 [T, 3, H, W]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    frames = []
    for time in torch.linspace(0.2, 0.8, count).tolist():
        blob = torch.exp(-((x - time) ** 2 + (y - 0.5) ** 2) * 30)
        frames.append(torch.stack([x * 120 + blob * 100, y * 120 + blob * 60, (x + y) * 80]))
    return torch.stack(frames).clamp(0, 255).to(torch.uint8)


def round_trip(name: str, pixels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """What a codec gives back, and the bytes it needed."""
    stream, lengths = encode(CODECS[name], pixels)
    assert lengths.sum() == len(stream)
    return decode(CODECS[name], stream, lengths, tuple(pixels.shape)), len(stream)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), st.integers(0, 255))
def test_lossless_gives_back_every_bit(seed, shape, low):
    random = torch.Generator().manual_seed(seed)
    count, height, width = shape
    pixels = torch.randint(low, 256, (count, 3, height, width), generator=random, dtype=torch.uint8)
    found, _ = round_trip("lossless", pixels)
    assert torch.equal(found, pixels)


def test_lossless_is_small_on_smooth_frames():
    found, size = round_trip("lossless", smooth())
    assert torch.equal(found, smooth())
    assert size < smooth().numel() / 3


def test_near_lossless_is_near():
    found, size = round_trip("near-lossless", smooth())
    error = (found.int() - smooth().int()).abs()
    assert 0 < error.float().mean() < 1
    assert error.max() <= 8
    assert size < smooth().numel() / 6


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("compression", [name for name in CODECS if name != "near-lossless"])
@pytest.mark.parametrize("name", ["nasa_13013.mp4", "nasa_13013_rotated.mp4", "test_non_zero_start.mp4"])
def test_cached_real_video_equals_decoding(tmp_path, name, compression):
    spec = VideoSpec(Sampling(fps=1.0), Budget(factor=28, max_pixels=110_000))
    expected = read(str(VIDEOS / name), spec)
    cache = TensorCache(tmp_path, compression=compression)
    assert_same(cache.get(str(VIDEOS / name), spec), expected)
    assert_same(cache.get(str(VIDEOS / name), spec), expected)
    assert cache.counts == {"decoded": 1, "hits": 1}


@needs_shared
def test_near_lossless_on_real_video(tmp_path):
    source, spec = str(VIDEOS / "flipping_a_pancake.mkv"), VideoSpec(Sampling(frames=8), None)
    expected = read(source, spec)
    found = TensorCache(tmp_path, compression="near-lossless").get(source, spec)
    error = (found.pixels.int() - expected.pixels.int()).abs().float()
    assert error.mean() < 1.5
    assert error.max() <= 40
    assert found.metadata == expected.metadata


@needs_shared
def test_large_photograph_through_the_image_cache(tmp_path):
    path, spec = SHARED / "media" / "image" / "truck.jpg", ImageSpec(Budget(factor=28, max_pixels=200_000))
    cache = TensorCache(tmp_path)
    expected = read(str(path), spec)
    for source in (path, str(path), path.read_bytes(), f"file://{path}"):
        assert_same(cache.get_image(source, spec), expected)
    assert cache.counts == {"decoded": 1, "hits": 3}
