"""Sizes and resampling: equal to qwen-vl-utils for Qwen2.5-VL (factor 28) and Qwen3-VL (factor 32)."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.media import SHARED, needs_shared
from tests.support.qwen import qwen  # noqa: F401
from video import Budget, VideoError, read_frames, read_image
from video.resize import resize_frames
from video.sizes import frame_bounds, image_size, smart_resize, video_size

fixture_is_constant = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
sides = st.integers(8, 4000)
PATCHES = (14, 16)


@fixture_is_constant
@given(
    height=sides,
    width=sides,
    factor=st.sampled_from([28, 32, 16]),
    lower=st.integers(1, 10**6),
    more=st.integers(0, 10**7),
)
def test_smart_resize_is_qwens(qwen, height, width, factor, lower, more):  # noqa: F811
    assume(max(height, width) / min(height, width) <= 200)
    expected = qwen.smart_resize(height, width, factor, lower, lower + more)
    # A side that Qwen's rule rounds down to nothing keeps one token here.
    assert smart_resize(height, width, factor, lower, lower + more) == tuple(max(side, factor) for side in expected)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (280, 280, (280, 280)),
        (270, 480, (280, 476)),
        (13, 13, (56, 56)),
        (13, 2500, (28, 784)),
        (150, 10, (224, 28)),
        (1080, 1920, (1092, 1932)),
        (8000, 8000, (3584, 3584)),
    ],
)
def test_images_by_hand(height, width, size):
    """Multiples of 28, at least 4 and at most 16384 tokens of 28 x 28."""
    assert image_size(height, width, Budget(28)) == size


def test_frame_bounds_by_hand():
    """128 and 768 tokens of 28 x 28; the total of 115200 tokens is spread over pairs of frames."""
    token = 784
    assert frame_bounds(2, Budget(28)) == (128 * token, 768 * token)
    assert frame_bounds(400, Budget(28)) == (128 * token, 115200 * token / 400 * 2)
    assert frame_bounds(100, Budget(28, total_pixels=100 * 200 * token)) == (128 * token, 400 * token)
    # However small the total, a frame may have 1.05 times the minimum.
    assert frame_bounds(100, Budget(28, total_pixels=token)) == (128 * token, int(128 * token * 1.05))
    assert frame_bounds(2, Budget(28, max_pixels=200 * token)) == (128 * token, 200 * token)


def test_no_budget_keeps_the_size():
    assert video_size(8, 33, 77, None) == image_size(33, 77, None) == (33, 77)


def test_impossible_sizes_are_refused():
    with pytest.raises(VideoError, match=r"over 200 \[bad_ratio\]"):
        video_size(2, 10, 4000, Budget(28))
    with pytest.raises(VideoError, match=r"min_pixels=1568 > max_pixels=784 .*raise max_pixels"):
        smart_resize(100, 100, 28, 1568, 784)
    with pytest.raises(VideoError, match=r"max_pixels=783 is less than a visual token of 28x28 pixels .*>= 784"):
        Budget(28, max_pixels=783)


def test_an_upper_bound_below_qwens_least_is_the_bound():
    """128 tokens is Qwen's least for a frame and 4 for an image; qwen-vl-utils has no answer there."""
    assert video_size(2, 480, 640, Budget(32, max_pixels=64 * 32**2)) == (192, 288)
    assert video_size(2, 480, 640, Budget(32, max_pixels=128 * 32**2)) == (288, 416)
    assert image_size(480, 640, Budget(32, max_pixels=2 * 32**2)) == (32, 32)


def element(budget: Budget) -> dict[str, int]:
    names = ("min_pixels", "max_pixels", "total_pixels")
    return {name: getattr(budget, name) for name in names if getattr(budget, name) is not None}


def budgets(factor: int) -> list[Budget]:
    token = factor**2
    return [
        Budget(factor),
        Budget(factor, min_pixels=4 * token, max_pixels=16 * token),
        Budget(factor, total_pixels=40 * token, min_pixels=4 * token),
        Budget(factor, min_pixels=900 * token),
    ]


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize(("height", "width"), [(112, 224), (224, 448)])
def test_lists_of_frames_match_fetch_video(qwen, patch, height, width):  # noqa: F811
    """For frames whose sides are multiples of twice the factor; see below for others."""
    height, width = height // 28 * patch * 2, width // 28 * patch * 2
    noise = np.random.default_rng(0).integers(0, 256, (5, height // 8, width // 8, 3), np.uint8)
    pictures = [Image.fromarray(n).resize((width, height), Image.Resampling.BICUBIC) for n in noise]
    expected, about = qwen.fetch_video({"video": pictures}, image_patch_size=patch, return_video_metadata=True)
    found = read_frames(pictures, all_frames=True, budget=Budget(patch * 2))
    assert torch.equal(found.pixels.float(), expected.round())
    assert len(about["frames_indices"]) == len(found) == 6
    assert found.metadata.indices == (0, 1, 2, 3, 4, 4)
    assert (found.metadata.fps, found.metadata.sampled_fps) == (about["fps"], 2.0)


def test_lists_are_resampled_once_as_videos_are(qwen):  # noqa: F811
    """fetch_video passes each listed frame through fetch_image with twice the factor first; a list here is a video."""
    picture = Image.fromarray(np.zeros((270, 480, 3), np.uint8))
    found = read_frames([picture] * 4, all_frames=True, budget=Budget(28))
    assert found.pixels.shape[2:] == video_size(4, 270, 480, Budget(28)) == (280, 476)
    assert qwen.fetch_video({"video": [picture] * 4}).shape[2:] == (280, 504)


@needs_shared
@pytest.mark.parametrize("patch", PATCHES)
def test_images_match_fetch_image(qwen, patch):  # noqa: F811
    for path in (SHARED / "media/image/truck.jpg", SHARED / "media/image/groceries.jpg"):
        for budget in budgets(patch * 2):
            asked = {k: v for k, v in element(budget).items() if k != "total_pixels"}
            expected = np.asarray(qwen.fetch_image({"image": str(path), **asked}, image_patch_size=patch))
            found = read_image(path, budget)
            assert np.array_equal(found.pixels[0].permute(1, 2, 0).numpy(), expected)
            assert found.timestamps.tolist() == [0.0]


@pytest.mark.parametrize("size", [(56, 84), (280, 476), (100, 37), (96, 128)])
def test_resampling_is_torchvisions(qwen, size):  # noqa: F811
    frames = torch.randint(0, 256, (3, 3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    resize, mode = qwen.transforms.functional.resize, qwen.InterpolationMode.BICUBIC
    assert torch.equal(resize_frames(frames, size), resize(frames, list(size), mode, antialias=True))
    assert torch.equal(resize_frames(frames, (96, 128)), frames)


def test_resampling_keeps_flat_pictures_flat():
    flat = torch.full((2, 3, 50, 70), 201, dtype=torch.uint8)
    assert (resize_frames(flat, (28, 56)) == 201).all()
