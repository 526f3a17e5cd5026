"""Backends: the same frames at the same, true times, whoever decodes and however frames are reached."""

import concurrent.futures
import gc
import json
import multiprocessing
import os
import sys
import types
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

import video
from tests.support.clips import channels_last, decode_all, encode, has_encoder, scene, trim_by_edit_list, uneven
from tests.support.media import SHARED, needs_shared
from video import VideoError, backends
from video.bitstream import closed_groups, is_refresh
from video.scan import scan_file

MEDIA = SHARED / "media" / "video"
# torchcodec where it loads.
BACKENDS = ("decord", "pyav", *(["torchcodec"] if backends.load("torchcodec").available() is None else []))
# Where decord cannot be trusted to find a frame again, and why: the words of its refusal.
LEFT_TO_PYAV = {
    "open.mp4": ({"codec": "libx265", "x265-params": "keyint=6:open-gop=1:log-level=none"}, "groups of pictures"),
    "mpeg2.mkv": ({"codec": "mpeg2video", "g": 6, "bf": 2}, "groups of pictures"),
    "refresh.mp4": ({"x264-params": "intra-refresh=1:keyint=6"}, "groups of pictures"),
    "stream.ts": ({"g": 6}, "mpegts"),
    "mpeg4.avi": ({"codec": "mpeg4", "g": 6, "bf": 2}, "avi"),
    "av1.mp4": ({"codec": "libsvtav1", "svtav1-params": "log-level=-1"}, "av1"),
    "moving.gif": ({"codec": "gif", "fmt": "rgb8", "rate": 10}, "gif"),
}
READ_BY_DECORD = {
    "groups.mp4": {"g": 6},
    "groups.mkv": {"g": 6},
    "fragments.mp4": {"g": 6, "muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "closed.mp4": {"codec": "libx265", "x265-params": "keyint=6:open-gop=0:log-level=none"},
    "uneven.mp4": {"g": 6, "pts": uneven(), "base": Fraction(1, 1000)},
    "late.mkv": {"g": 6, "offset": 200},
}


def written(tmp_path, kind, settings):
    if not has_encoder(settings.get("codec", "libx264")):
        pytest.skip(f"no encoder for {kind}")
    return encode(tmp_path / kind, **settings)


def assert_random_access(path, backend, used):
    """Any few frames, by their times, are those of a plain pass over the file."""
    truth, times = decode_all(path)
    random = np.random.default_rng(0)
    for _ in range(8):
        taken = np.sort(random.choice(len(truth), 3, replace=False))
        found = video.read_frames(path, timestamps=times[taken] - times[0], backend=backend)
        assert found.metadata.backend == used
        assert found.metadata.indices == tuple(taken)
        assert np.array_equal(channels_last(found.pixels), truth[taken])
        assert found.timestamps.numpy() == pytest.approx(times[taken] - times[0], abs=1e-9)


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stream", [0, 3])
def test_timestamps_are_the_listed_ones(stream, backend):
    listed = json.loads((MEDIA / f"nasa_13013.stream{stream}.frames.json").read_text())
    path = MEDIA / "nasa_13013.mp4"
    if backend == "decord" and stream == 0:
        with pytest.raises(VideoError, match="only the best video stream"):
            video.read_frames(path, frames=2, stream=stream, backend=backend)
        return
    found = video.read_frames(path, all_frames=True, frame_factor=1, stream=stream, backend=backend)
    expected = [float(frame["pts_time"]) for frame in listed]
    assert len(found) == found.metadata.total_frames == len(expected)
    # The list is rounded to microseconds.
    assert found.timestamps.tolist() == pytest.approx(expected, abs=6e-7)
    assert found.metadata.stream == stream
    assert found.metadata.duration == pytest.approx(expected[-1] + float(listed[-1]["duration_time"]), abs=2e-6)


@needs_shared
def test_a_named_stream_is_the_one_decoded():
    path = MEDIA / "nasa_13013.mp4"
    truth, _ = decode_all(path, stream=0)
    found = video.read_frames(path, timestamps=[0.0, 5.0], stream=0)
    assert np.array_equal(channels_last(found.pixels), truth[[0, 125]])
    with pytest.raises(VideoError, match=r"stream 1 is no video stream \[bad_spec\]; video streams: 0, 3"):
        video.read_frames(path, frames=2, stream=1)


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize(
    "file",
    ["nasa_13013_rotated.mp4", "test_non_zero_start.mp4", "h265_video.mp4", "av1_video.mkv", "flipping_a_pancake.mkv"],
)
def test_real_files_are_reached_anywhere(file):
    used = "pyav" if file in ("h265_video.mp4", "av1_video.mkv") else "decord"
    assert_random_access(MEDIA / file, "auto", used)
    if used == "decord":
        assert_random_access(MEDIA / file, "pyav", "pyav")


@pytest.mark.slow
@pytest.mark.parametrize("kind", READ_BY_DECORD)
def test_both_backends_agree(tmp_path, kind):
    path = written(tmp_path, kind, READ_BY_DECORD[kind])
    assert_random_access(path, "auto", "decord")
    assert_random_access(path, "pyav", "pyav")


@pytest.mark.parametrize("kind", LEFT_TO_PYAV)
def test_auto_leaves_to_pyav_what_decord_misreads(tmp_path, kind):
    settings, words = LEFT_TO_PYAV[kind]
    path = written(tmp_path, kind, settings)
    assert_random_access(path, "auto", "pyav")
    with pytest.raises(VideoError, match=rf"{words}.* \[backend\]; use backend='auto' or 'pyav'"):
        video.read_frames(path, frames=2, backend="decord")


def test_frames_hidden_by_an_edit_list_stay_hidden(tmp_path):
    plain = encode(tmp_path / "plain.mp4", g=6)
    path = trim_by_edit_list(plain, tmp_path / "trimmed.mp4", frames=10, ticks=512)
    shown, times = decode_all(plain)
    found = video.read_frames(path, all_frames=True)
    assert found.metadata.backend == "pyav"
    assert np.array_equal(channels_last(found.pixels), shown[10:])
    assert found.timestamps.tolist() == pytest.approx(times[:20])
    with pytest.raises(VideoError, match="edit lists"):
        video.read_frames(path, frames=2, backend="decord")


@pytest.mark.parametrize("backend", BACKENDS)
def test_times_count_from_the_first_frame(tmp_path, backend):
    path = encode(tmp_path / "late.mp4", offset=200)
    found = video.read_frames(path, frames=4, start=0.2, end=0.6, backend=backend)
    # Frames 5 to 15 at 25 frames per second; second 0 is the container's second 8.
    assert found.metadata.indices == (5, 8, 12, 15)
    assert found.timestamps.tolist() == pytest.approx([0.2, 0.32, 0.48, 0.6])
    assert found.metadata.start_time == pytest.approx(8.0)
    assert found.metadata.duration == pytest.approx(1.2)


@needs_shared
def test_the_real_late_file():
    about = video.probe(MEDIA / "test_non_zero_start.mp4")
    assert about.start_time == pytest.approx(127995 / 15360)
    assert (about.total_frames, about.fps) == (12, 30.0)
    assert video.read_frames(MEDIA / "test_non_zero_start.mp4", frames=2).timestamps.tolist()[0] == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_uneven_times_are_true(tmp_path, backend):
    ticks = uneven()
    path = encode(tmp_path / "uneven.mkv", pts=ticks, base=Fraction(1, 1000))
    found = video.read_frames(path, all_frames=True, backend=backend)
    assert found.timestamps.tolist() == pytest.approx([(t - ticks[0]) / 1000 for t in ticks], abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_applied(tmp_path, degrees, backend):
    pixels = np.zeros((4, 64, 96, 3), np.uint8)
    pixels[:, :32, :48] = [255, 0, 0]
    path = encode(tmp_path / "turned.mp4", pixels, rotation=degrees)
    found = video.read_frames(path, frames=2, backend=backend)
    shown = np.rot90(pixels[0], degrees // 90)
    assert np.abs(channels_last(found.pixels)[0] - shown).mean() < 4
    assert (found.metadata.height, found.metadata.width) == shown.shape[:2]
    assert found.metadata.rotation == -degrees % 360


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("settings", [{"fmt": "yuv444p10le"}, {"codec": "mpeg4", "pixels": scene(8, 77, 101)}])
def test_ten_bits_and_odd_sides(tmp_path, settings, backend):
    if not has_encoder(settings.get("codec", "libx264"), settings.get("fmt")):
        pytest.skip("no such encoder")
    source = settings.get("pixels", scene())
    path = encode(tmp_path / "a.mp4", **settings, **({} if "codec" in settings else {"crf": 5}))
    found = video.read_frames(path, all_frames=True, backend=backend)
    assert found.pixels.shape[2:] == source.shape[1:3]
    assert np.abs(channels_last(found.pixels) - source).mean() < (8 if "codec" in settings else 2)


def test_order_and_repeats_are_the_callers(tmp_path):
    path = encode(tmp_path / "a.mp4", g=6)
    truth, _ = decode_all(path)
    for backend in BACKENDS:
        found = video.read_frames(path, timestamps=[0.8, 0.0, 0.8, 0.79], backend=backend)
        assert found.metadata.indices == (20, 0, 20, 19)
        assert np.array_equal(channels_last(found.pixels), truth[[20, 0, 20, 19]])


def checksum(job) -> int:
    path, backend, threads = job
    torch.set_num_threads(1)
    return hash(video.read_frames(path, frames=6, backend=backend, threads=threads).pixels.numpy().tobytes())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["threads", "fork"])
def test_pools_read_what_one_reads(tmp_path, method):
    files = [written(tmp_path, kind, READ_BY_DECORD[kind]) for kind in ("groups.mp4", "groups.mkv", "late.mkv")]
    jobs = [(file, backend, threads) for file in files for backend in BACKENDS for threads in (0, 1)] * 2
    expected = [checksum(job) for job in jobs]
    if method == "threads":
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            assert list(pool.map(checksum, jobs)) == expected
    else:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(checksum, jobs) == expected


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_no_file_stays_open(tmp_path):
    path = encode(tmp_path / "a.mp4", g=6)
    for backend in BACKENDS:
        video.read_frames(path, frames=2, backend=backend)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for backend in BACKENDS * 5:
        video.read_frames(path, frames=2, backend=backend)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_logging_pyav_does_not_deadlock(tmp_path):
    import av

    path = encode(tmp_path / "a.mp4", g=6)
    av.logging.set_level(av.logging.PANIC)
    try:
        assert len(video.read_frames(path, frames=4, backend="pyav", threads=4)) == 4
    finally:
        av.logging.set_level(None)


def test_unknown_names_are_refused(tmp_path):
    path = encode(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match=r"unknown backend 'decrod'.*did you mean 'decord'"):
        video.read_frames(path, frames=2, backend="decrod")
    assert set(backends.BACKENDS) == {"decord", "pyav", "torchcodec"}


def test_probe_says_what_a_file_is(tmp_path):
    path = encode(tmp_path / "a.mp4", scene(20, 64, 96), rate=10, rotation=90)
    about = video.probe(path)
    assert (about.total_frames, about.fps, about.duration) == (20, 10.0, pytest.approx(2.0))
    assert (about.width, about.height, about.rotation, about.codec) == (64, 96, 270, "h264")
    assert (about.backend, about.indices, about.sampled_fps) == ("decord", (), None)


def test_open_groups_are_seen():
    """In the order of the file: a frame after the key 6 that is shown at 4 makes the group open."""
    keys = np.array([1, 0, 0, 1, 0, 0], bool)
    assert closed_groups(np.array([0, 2, 1, 3, 5, 4]), keys)
    assert not closed_groups(np.array([0, 2, 1, 6, 4, 5]), keys)


def test_refreshing_frames_are_told_from_rolling_ones():
    """NAL types 5 (IDR) and 1 behind 7 (parameters), with 4-byte lengths (avcC) and with start codes."""
    extradata = bytes([1, 100, 0, 31, 255])
    rolling = bytes([0, 0, 0, 2, 0x67, 9, 0, 0, 0, 2, 0x41, 9])
    assert not is_refresh(extradata, rolling)
    assert is_refresh(extradata, rolling[:6] + bytes([0, 0, 0, 2, 0x65, 9]))
    assert not is_refresh(None, bytes([0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x41, 9]))
    assert is_refresh(None, bytes([0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x65, 9]))


def test_torchcodec_that_does_not_load_says_so(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    backends.load("torchcodec").available.cache_clear()
    with pytest.raises(
        VideoError, match=r"'torchcodec' does not load: .*pip install 'torchcodec.*or use backend='auto'"
    ):
        video.read_frames(path, frames=2, backend="torchcodec")
    backends.load("torchcodec").available.cache_clear()


class FakeDecoder:
    """torchcodec's VideoDecoder as documented for 0.11, over PyAV."""

    def __init__(self, source, *, stream_index, dimension_order, num_ffmpeg_threads, seek_mode):
        assert (dimension_order, seek_mode) == ("NHWC", "exact")
        self.frames = torch.from_numpy(decode_all(source, stream_index)[0].copy())
        self.metadata = types.SimpleNamespace(num_frames=len(self.frames))

    def get_frames_at(self, indices):
        return types.SimpleNamespace(data=self.frames[indices])


@pytest.mark.parametrize(("version", "works"), [("0.17.0", True), ("0.9.1+cpu", False)])
def test_torchcodec_by_its_documented_interface(tmp_path, monkeypatch, version, works):
    decoders = types.SimpleNamespace(VideoDecoder=FakeDecoder)
    monkeypatch.setitem(sys.modules, "torchcodec", types.SimpleNamespace(__version__=version, decoders=decoders))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    module = backends.load("torchcodec")
    module.available.cache_clear()
    path = encode(tmp_path / "a.mp4", rotation=90)
    if works:
        found = video.read_frames(path, frames=4, backend="torchcodec")
        assert torch.equal(found.pixels, video.read_frames(path, frames=4, backend="pyav").pixels)
        assert found.metadata.backend == "torchcodec"
        with pytest.raises(VideoError, match="does not seek exactly in mpegts"):
            video.read_frames(encode(tmp_path / "a.ts"), frames=4, backend="torchcodec")
    else:
        with pytest.raises(VideoError, match=r"0\.9\.1\+cpu ignores rotation flags"):
            video.read_frames(path, frames=4, backend="torchcodec")
    module.available.cache_clear()


def test_a_failing_decord_is_replaced_under_auto_only(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")
    decord = backends.load("decord")

    def fails(scan, indices, threads):
        raise VideoError("backend", scan.path, "decord stops", "use another")
        yield

    monkeypatch.setattr(decord, "decode", fails)
    assert video.read_frames(path, frames=4).metadata.backend == "pyav"
    with pytest.raises(VideoError, match="decord stops"):
        video.read_frames(path, frames=4, backend="decord")


def test_a_header_that_lies_about_the_count_is_kept_from_decord(tmp_path):
    """decord reserves memory for the announced number: four billion frames end the process."""
    scan = scan_file(encode(tmp_path / "a.mp4"))
    assert backends.candidates("auto", scan) == list(BACKENDS)
    assert backends.candidates("auto", replace(scan, announced=4_000_000_000)) == list(BACKENDS[1:])
