"""Frames equal to qwen-vl-utils' for equal settings, over real and generated files, for both patch sizes."""

from fractions import Fraction

import numpy as np
import pytest
import torch

import video
from tests.support.clips import decode_all, encode, encode_apart, has_encoder, scene, uneven
from tests.support.media import SHARED, needs_shared
from tests.support.qwen import qwen  # noqa: F401
from video import Budget

PATCHES = (14, 16)
MEDIA = SHARED / "media" / "video"
# Of the real files, those that decord reads rightly; av1_video.mkv, h265_video.mp4 and corrupted.mp4 it does not.
REAL = ("nasa_13013.mp4", "nasa_13013_rotated.mp4", "test_non_zero_start.mp4", "flipping_a_pancake.mkv")
SMALL = {"min_pixels": 4 * 32**2, "max_pixels": 60 * 32**2}
# What is asked of qwen-vl-utils, and what of the budget; names differ only as `ours` says.
SETTINGS = {
    "default": ({}, {}),
    "rate": ({"fps": 4.0}, SMALL),
    "rate bounded": ({"fps": 10.0, "min_frames": 6, "max_frames": 11}, SMALL),
    "count": ({"nframes": 7}, SMALL),
    "total": ({"nframes": 8}, {"min_pixels": 4 * 32**2, "total_pixels": 200 * 32**2}),
    "clip": ({"fps": 20.0, "video_start": 0.1, "video_end": 0.36}, SMALL),
}


def ours(asked: dict) -> dict:
    names = {"nframes": "frames", "video_start": "start", "video_end": "end"}
    renamed = {names.get(name, name): value for name, value in asked.items()}
    return renamed if {"fps", "frames"} & set(renamed) else {"fps": 2.0, **renamed}


def compare(qwen, path, name, patch, tolerance=0):  # noqa: F811
    """Reads by both and compares indices, rates, sizes and pixels; `tolerance` is the mean difference in levels."""
    asked, bounds = SETTINGS[name]
    element = {"video": str(path), **asked, **bounds}
    (expected, about), rate = qwen.fetch_video(
        element, image_patch_size=patch, return_video_sample_fps=True, return_video_metadata=True
    )
    found = video.read_frames(path, budget=Budget(patch * 2, **bounds), **ours(asked))
    assert list(found.metadata.indices) == list(about["frames_indices"])
    assert found.metadata.sampled_fps == pytest.approx(rate, rel=1e-12)
    assert found.metadata.fps == pytest.approx(about["fps"], rel=1e-12)
    assert found.pixels.shape == expected.shape
    if tolerance:
        assert (found.pixels - expected.round()).abs().mean() < tolerance
    else:
        assert torch.equal(found.pixels.float(), expected.round())
    return found


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("file", REAL)
def test_real_files(qwen, file, name, patch):  # noqa: F811
    assert compare(qwen, MEDIA / file, name, patch).metadata.backend == "decord"


KINDS = {
    "h264.mp4": {},
    "h264.mkv": {"g": 8},
    "odd_sizes.mp4": {"fmt": "yuv444p", "pixels": scene(24, 77, 101)},
    "late.mp4": {"offset": 200},
    "turned.mp4": {"rotation": 90},
    "upside_down.mp4": {"rotation": 180},
    "full_range.mp4": {"fmt": "yuvj420p"},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "prores.mov": {"codec": "prores_ks", "fmt": "yuv422p10le"},
    "ntsc.mp4": {"rate": Fraction(30000, 1001)},
}


@pytest.mark.slow
@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_generated_files(qwen, tmp_path, kind, patch):  # noqa: F811
    settings = KINDS[kind]
    if not has_encoder(settings.get("codec", "libx264")):
        pytest.skip(f"no encoder for {kind}")
    write = encode_apart if "libvpx" in settings.get("codec", "") else encode
    path = write(tmp_path / kind, **settings)
    for name in SETTINGS:
        assert compare(qwen, path, name, patch).metadata.backend == "decord"


@pytest.mark.parametrize("kind", ["uneven.mp4", "uneven.mkv"])
def test_uneven_files_give_the_same_frames_by_number(qwen, tmp_path, kind):  # noqa: F811
    """Their rates differ: qwen-vl-utils takes the average that the file states for the times of its frames."""
    path = encode(tmp_path / kind, pts=uneven(), base=Fraction(1, 1000))
    expected, about = qwen.fetch_video({"video": str(path), "nframes": 8, **SMALL}, return_video_metadata=True)
    found = video.read_frames(path, frames=8, budget=Budget(28, **SMALL))
    assert list(found.metadata.indices) == list(about["frames_indices"])
    assert torch.equal(found.pixels.float(), expected.round())
    assert found.metadata.sampled_fps is None


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize(("kind", "settings"), [
    ("ten_bits.mp4", {"fmt": "yuv420p10le"}),
    ("odd.mp4", {"codec": "mpeg4", "pixels": scene(24, 77, 101)}),
])  # fmt: skip
def test_other_backends_differ_by_chroma_interpolation_only(qwen, tmp_path, kind, settings, patch):  # noqa: F811
    """Colour planes at half size with 10 bits or odd sides: FFmpeg versions interpolate them differently."""
    if not has_encoder(settings.get("codec", "libx264"), settings.get("fmt")):
        pytest.skip(f"no encoder for {kind}")
    path = encode(tmp_path / kind, **settings)
    for name in ("rate", "count"):
        asked, bounds = SETTINGS[name]
        compare(qwen, path, name, patch)
        by_decord = video.read_frames(path, budget=Budget(patch * 2, **bounds), backend="decord", **ours(asked))
        by_pyav = video.read_frames(path, budget=Budget(patch * 2, **bounds), backend="pyav", **ours(asked))
        assert by_pyav.metadata.indices == by_decord.metadata.indices
        assert torch.equal(by_pyav.timestamps, by_decord.timestamps)
        assert (by_pyav.pixels.float() - by_decord.pixels.float()).abs().mean() < 2


def read_by_ffmpeg(element):
    """A reader for qwen-vl-utils that decodes every frame: what decord would give if it sought rightly."""
    from qwen_vl_utils import vision_process

    pictures, _ = decode_all(element["video"])
    about = video.probe(element["video"])
    start, end, total = vision_process.calculate_video_frame_range(element, len(pictures), about.fps)
    count = vision_process.smart_nframes(element, total_frames=total, video_fps=about.fps)
    taken = torch.linspace(start, end, count).round().long().tolist()
    pixels = torch.tensor(pictures[taken]).permute(0, 3, 1, 2)
    return pixels, {"fps": about.fps, "frames_indices": taken, "total_num_frames": total}, count / total * about.fps


@pytest.fixture
def qwen_exact(qwen, monkeypatch):  # noqa: F811
    monkeypatch.setitem(qwen.VIDEO_READER_BACKENDS, "decord", read_by_ffmpeg)
    return qwen


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("file", [*REAL, "h265_video.mp4", "av1_video.mkv"])
def test_real_files_by_a_plain_pass(qwen_exact, file, name, patch):
    """qwen-vl-utils' sampling and sizes over frames that no seek can misplace: every real file is equal."""
    compare(qwen_exact, MEDIA / file, name, patch)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), [
    ("open.mp4", {"codec": "libx265", "x265-params": "keyint=6:open-gop=1:log-level=none"}),
    ("mpeg2.mkv", {"codec": "mpeg2video", "g": 6, "bf": 2}),
    ("mpeg4.avi", {"codec": "mpeg4", "g": 6, "bf": 2}),
    ("refresh.mp4", {"x264-params": "intra-refresh=1:keyint=6"}),
    ("stream.ts", {"g": 6}),
])  # fmt: skip
def test_generated_files_by_a_plain_pass(qwen_exact, tmp_path, kind, settings):
    if not has_encoder(settings.get("codec", "libx264")):
        pytest.skip(f"no encoder for {kind}")
    path = encode(tmp_path / kind, **settings)
    for name in SETTINGS:
        assert compare(qwen_exact, path, name, 14).metadata.backend == "pyav"


@needs_shared
def test_decord_misplaces_frames_of_the_real_h265_file():
    """Why `auto` leaves open groups of pictures to PyAV; when this fails, a newer decord has learned it."""
    decord = pytest.importorskip("decord")
    path = MEDIA / "h265_video.mp4"
    truth, _ = decode_all(path)
    taken = [0, 3, 6, 9]
    batch = decord.VideoReader(str(path)).get_batch(taken).asnumpy().astype(int)
    nearest = [int(np.abs(truth - picture).mean((1, 2, 3)).argmin()) for picture in batch]
    assert nearest != taken
    found = video.read_frames(path, timestamps=[i / 10 for i in taken])
    assert np.array_equal(found.pixels.permute(0, 2, 3, 1).numpy(), truth[taken])
