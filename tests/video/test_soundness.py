"""Damaged bits: no frame is handed out that visibly differs from the undamaged file's, whoever decodes."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import video
from tests.support.clips import channels_last, decode_all, encode, has_encoder, scene
from tests.support.media import SHARED, needs_shared
from video import VideoError, backends, file_state
from video.backends import pyav
from video.checksums import sound_clusters

MEDIA = SHARED / "media" / "video"
# Mean levels of 255 over one frame; what gets by the decoders' own checks is the end of a picture's bits.
VISIBLE = 2.0
CONCEALING = ["auto", "decord", *(["torchcodec"] if backends.load("torchcodec").available() is None else [])]
# Codecs that decode flipped bits to other pictures without an error.
SILENT = {
    "hevc.mkv": {"codec": "libx265", "x265-params": "keyint=6:open-gop=0:log-level=none"},
    "open_hevc.mkv": {"codec": "libx265", "x265-params": "keyint=6:open-gop=1:log-level=none"},
    "ffv1.mkv": {"codec": "ffv1"},
    "mjpeg.mkv": {"codec": "mjpeg", "fmt": "yuvj420p"},
}
SHORT_CLUSTERS = {"cluster_time_limit": "240"}


def flipped(source, target, seed, bits=3, low=0.2, high=0.8):
    draw, data = random.Random(seed), bytearray(source.read_bytes())
    for _ in range(bits):
        data[draw.randrange(int(len(data) * low), int(len(data) * high))] ^= 1 << draw.randrange(8)
    target.write_bytes(data)
    return target


def packets(path):
    import av

    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def scratched(source, target, number):
    """Turns 40 bytes in the middle of one frame's packet."""
    position, size = packets(source)[number]
    data, at = bytearray(source.read_bytes()), position + size // 2
    data[at : at + 40] = bytes(byte ^ 0x5A for byte in data[at : at + 40])
    target.write_bytes(data)
    return target


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("name", ["flipping_a_pancake.mkv", "nasa_13013.mp4", "nasa_13013_rotated.mp4"])
def test_flipped_bits_of_real_files_change_no_accepted_frame(tmp_path, name, threads):
    truth = video.read_frames(MEDIA / name, frames=8).pixels.int()
    reasons = []
    for seed in range(12):
        path = flipped(MEDIA / name, tmp_path / f"{seed}_{name}", seed)
        try:
            found = video.read_frames(path, frames=8, threads=threads)
        except VideoError as error:
            reasons.append(error.reason)
        else:
            assert found.metadata.backend == "decord"
            assert (found.pixels.int() - truth).abs().float().mean((1, 2, 3)).max() < VISIBLE
    assert set(reasons) == {"truncated"}
    assert len(reasons) > 4


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("name", [
    "av1_video.mkv", "flipping_a_pancake.mkv", "h265_video.mp4", "nasa_13013.mp4", "nasa_13013_rotated.mp4",
    "test_non_zero_start.mp4",
])  # fmt: skip
def test_good_files_are_read_whole(name):
    found = video.read_frames(MEDIA / name, all_frames=True, frame_factor=1)
    assert len(found) == found.metadata.total_frames


@pytest.mark.parametrize("backend", CONCEALING)
@pytest.mark.parametrize(("name", "options", "hit"), [
    ("a.mp4", {"g": 10}, 0.56),
    ("baseline.mp4", {"g": 10, "profile": "baseline"}, 0.56),
    ("b.mp4", {"codec": "mpeg4", "g": 10}, 0.56),
])  # fmt: skip
def test_only_the_damaged_group_is_refused(tmp_path, name, options, hit, backend):
    whole = encode(tmp_path / f"whole_{name}", scene(30), **options)
    path = scratched(whole, tmp_path / name, 12)
    with pytest.raises(VideoError, match=r"does not decode \[truncated\]; .*truncated='keep'"):
        video.read_frames(path, timestamps=[hit], backend=backend)
    for times in ([0.0, 0.16], [0.82, 1.0]):
        good = video.read_frames(whole, timestamps=times, backend=backend)
        assert np.array_equal(video.read_frames(path, timestamps=times, backend=backend).pixels, good.pixels)


def test_keeping_what_decodes_keeps_no_concealed_frame(tmp_path):
    whole = encode(tmp_path / "whole.mp4", scene(30), g=10)
    path = scratched(whole, tmp_path / "a.mp4", 12)
    kept = video.read_frames(path, all_frames=True, frame_factor=1, truncated="keep")
    truth, times = decode_all(whole)
    places = np.searchsorted(times - times[0], kept.timestamps.numpy() - 1e-6)
    assert 20 <= len(kept) < 30
    assert np.array_equal(channels_last(kept.pixels), truth[places])


def test_the_check_of_a_frame_is_made_once(tmp_path, monkeypatch):
    passes, open_container = [], pyav.open_container
    monkeypatch.setattr(pyav, "open_container", lambda path: passes.append(path) or open_container(path))
    monkeypatch.setattr(file_state, "UNSETTLED_NS", -1)
    path = encode(tmp_path / "a.mp4", scene(30), g=10)
    video.read_frames(path, frames=6)
    assert len(passes) == 1
    video.read_frames(path, frames=6, start=0.0)
    # Between two frames that were asked for, those that had to be decoded were seen as well.
    video.read_frames(path, timestamps=[0.5], backend="decord")
    assert len(passes) == 1
    damaged = scratched(path, tmp_path / "b.mp4", 12)
    damaged.replace(path)
    with pytest.raises(VideoError, match="truncated"):
        video.read_frames(path, timestamps=[0.56])


@pytest.mark.slow
@pytest.mark.parametrize("name", SILENT)
def test_checksums_of_matroska_find_what_decoders_do_not(tmp_path, name):
    if not has_encoder(SILENT[name]["codec"]):
        pytest.skip(f"no encoder for {name}")
    whole = encode(tmp_path / f"whole_{name}", scene(30), muxer=SHORT_CLUSTERS, **SILENT[name])
    truth = video.read_frames(whole, all_frames=True, frame_factor=1).pixels
    outcomes = set()
    for seed in range(12):
        path = flipped(whole, tmp_path / f"{seed}_{name}", seed, bits=1)
        for index in (1, 8, 15, 22, 29):
            try:
                found = video.read_frames(path, timestamps=[index / 25])
            except VideoError as error:
                outcomes.add(error.reason)
            else:
                outcomes.add("read")
                assert np.array_equal(found.pixels[0], truth[index])
    assert {"read", "truncated"} <= outcomes


def test_a_file_without_checksums_has_no_say(tmp_path):
    assert sound_clusters(encode(tmp_path / "a.mp4", scene(8))) is None
    assert sound_clusters(encode(tmp_path / "a.mkv", scene(8), muxer={"write_crc32": "0"})) is None
    (tmp_path / "empty").write_bytes(b"")
    assert sound_clusters(tmp_path / "empty") is None


def test_every_byte_of_a_cluster_counts(tmp_path):
    path = encode(tmp_path / "a.mkv", scene(24), g=6, muxer=SHORT_CLUSTERS)
    good, data = sound_clusters(path), path.read_bytes()
    assert good.all
    assert len(good.ranges) >= 4
    assert {data[start : start + 4] for start, _ in good.ranges} == {bytes.fromhex("1f43b675")}
    start, end = good.ranges[1]
    for at in (start + 1, start + 14, (start + end) // 2, end - 1):
        bad = bytearray(data)
        bad[at] ^= 8
        path.write_bytes(bad)
        found = sound_clusters(path)
        assert not found.holds(at)
        assert found.holds(good.ranges[0][0])
    path.write_bytes(data[: end - 1])
    assert sound_clusters(path).ranges == good.ranges[:1]


@settings(max_examples=150)
@given(data=st.data())
def test_no_bytes_upset_the_walk(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("walk")
    head = bytes.fromhex("1a45dfa3 80 18538067 01ffffffffffffff 1f43b675 8c bf84 00000000".replace(" ", ""))
    mutated = bytearray(head + data.draw(st.binary(max_size=60)))
    for _ in range(data.draw(st.integers(0, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "a.mkv"
    path.write_bytes(mutated)
    found = sound_clusters(path)
    assert found is None or all(0 <= start < end <= len(mutated) for start, end in found.ranges)
