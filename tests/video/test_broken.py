"""Broken media: refused in one line with the path, a reason to count by and a cure; or read as far as asked."""

import concurrent.futures

import numpy as np
import pytest
import torch
from PIL import Image

import video
from tests.support.clips import add_sound, channels_last, cut, decode_all, encode, scene
from tests.support.media import SHARED, needs_shared
from video import Budget, VideoError

FAST = {"movflags": "faststart"}


def refusal(source, reason, **settings) -> VideoError:
    """The error, checked for its form."""
    with pytest.raises(VideoError) as caught:
        video.read_frames(source, **{"frames": 4, **settings})
    error = caught.value
    assert error.reason == reason, str(error)
    assert "\n" not in str(error)
    assert str(error).endswith(f"[{reason}]; {error.cure}")
    assert error.cure
    return error


def test_missing(tmp_path):
    encode(tmp_path / "clip_1.mp4", scene(4))
    error = refusal(tmp_path / "clip_l.mp4", "missing")
    assert error.path == str(tmp_path / "clip_l.mp4")
    assert "did you mean 'clip_1.mp4'?" in str(error)
    assert "is a URL" in str(refusal("https://example.org/a.mp4", "missing"))
    refusal("a\0b.mp4", "missing")
    refusal("x" * 5000, "missing")


def test_outside_the_root(tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    secret = encode(tmp_path / "secret.mp4", scene(4))
    (root / "link.mp4").symlink_to(secret)
    for name in ("../secret.mp4", str(secret), "link.mp4", "a/../../secret.mp4"):
        assert name in str(refusal(name, "outside_root", root=root))
    assert len(video.read_frames("media/link.mp4", frames=4, root=tmp_path)) == 4
    encode(root / "fine.mp4", scene(4))
    assert len(video.read_frames("fine.mp4", frames=4, root=root)) == 4
    assert len(video.read_frames(f"file://{root}/fine.mp4", frames=4, root=root)) == 4


def test_frames_outside_the_root(tmp_path):
    root = tmp_path / "media"
    (root / "frames").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
    (root / "frames/0.png").symlink_to(tmp_path / "secret.png")
    refusal("frames", "outside_root", root=root, frames=None, all_frames=True)
    refusal(["../secret.png"] * 4, "outside_root", root=root)
    with pytest.raises(VideoError, match="outside_root"):
        video.read_image("../secret.png", root=root)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"once upon a time\n" * 50, "not"), (bytes(range(256)) * 20, "no video container")],
)
def test_other_bytes(tmp_path, content, words):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    error = refusal(path, "not_a_video")
    assert str(path) in str(error)
    assert words in str(error)


def test_the_content_decides_and_not_the_extension(tmp_path):
    encode(tmp_path / "a.mp4", scene(6)).rename(tmp_path / "a.txt")
    assert len(video.read_frames(tmp_path / "a.txt", frames=4)) == 4
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "b.mp4")
    assert "png_pipe" in str(refusal(tmp_path / "b.mp4", "not_a_video"))


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8"])
def test_playlists_open_no_other_file(tmp_path, name):
    encode(tmp_path / "target.mp4", scene(6))
    (tmp_path / name).write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1,\n{tmp_path}/target.mp4\n#EXT-X-ENDLIST\n"
    )
    refusal(tmp_path / name, "not_a_video")
    (tmp_path / name).write_text("ffconcat version 1.0\nfile target.mp4\n")
    refusal(tmp_path / name, "not_a_video")


def test_sound_without_pictures(tmp_path):
    assert "drop the row" in str(refusal(add_sound(tmp_path / "a.mp4"), "audio_only"))


@pytest.mark.parametrize(("name", "muxer"), [
    ("a.mkv", {}), ("a.avi", {}), ("a.mp4", {}), ("b.mp4", {"movflags": "empty_moov+frag_keyframe"}),
])  # fmt: skip
def test_no_frames(tmp_path, name, muxer):
    import av

    with av.open(str(tmp_path / name), "w", options=muxer) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    refusal(tmp_path / name, "no_frames")


def test_an_mp4_without_its_end(tmp_path):
    path = cut(encode(tmp_path / "a.mp4"), tmp_path / "cut.mp4", 0.6)
    assert "moov" in str(refusal(path, "truncated"))
    refusal(path, "truncated", truncated="keep")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", {"muxer": FAST, "g": 5}),
        ("a.mkv", {"g": 5}),
        ("fragments.mp4", {"muxer": {"movflags": "frag_keyframe+empty_moov"}, "g": 5}),
    ],
)
def test_cut_files_are_refused_or_read_as_far_as_they_go(tmp_path, name, settings):
    whole = encode(tmp_path / f"whole_{name}", scene(60), **settings)
    path = cut(whole, tmp_path / name, 0.6)
    refusal(path, "truncated")
    found = video.read_frames(path, all_frames=True, frame_factor=1, truncated="keep")
    truth, times = decode_all(whole)
    count = len(found)
    assert 20 < count < 60
    assert found.metadata.total_frames == count
    assert np.array_equal(channels_last(found.pixels), truth[:count])
    assert found.timestamps.tolist() == pytest.approx(times[:count] - times[0])
    assert video.probe(path).total_frames >= count


@needs_shared
def test_the_real_corrupted_file():
    path = SHARED / "media/video/corrupted.mp4"
    error = refusal(path, "truncated", frames=8)
    assert str(path) in str(error)
    assert "truncated='keep'" in error.cure
    # The bytes break at 3 s; before that nothing is wrong.
    assert len(video.read_frames(path, timestamps=[0.0, 1.0, 2.0])) == 3
    kept = video.read_frames(path, frames=8, truncated="keep")
    assert kept.timestamps.max() < 3.0
    assert kept.metadata.total_frames < 31
    assert kept.timestamps.tolist() == [i / 10 for i in kept.metadata.indices]


def test_a_hole_in_the_middle_loses_its_group_only(tmp_path):
    """Zeroed bytes inside one group of pictures: the frames of the others are kept, at their own times."""
    import av

    whole = encode(tmp_path / "whole.mp4", scene(60), **{"x264-params": "keyint=10:scenecut=0:bframes=0"})
    with av.open(str(whole)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(whole.read_bytes())
    position, size = packets[23]
    data[position : position + size] = b"\xff" * size
    path = tmp_path / "hole.mp4"
    path.write_bytes(data)
    refusal(path, "truncated", frames=60)
    kept = video.read_frames(path, all_frames=True, frame_factor=1, truncated="keep")
    truth, _ = decode_all(whole)
    expected = [*range(23), *range(30, 60)]
    assert kept.timestamps.tolist() == pytest.approx([i / 25 for i in expected])
    assert np.array_equal(channels_last(kept.pixels), truth[expected])


def test_lists_and_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no image in the folder" in str(refusal(tmp_path / "empty", "no_frames"))
    refusal([], "no_frames")
    small, large = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 96, 3), np.uint8)
    assert "frame 1 is 96x64, frame 0 is 64x64" in str(refusal([small, large], "mixed_sizes", frames=2))
    refusal([small.astype(float)] * 2, "not_an_image", frames=2)
    refusal([3, 4], "not_an_image", frames=2)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert str(tmp_path / "bad.png") in str(refusal([tmp_path / "bad.png"] * 2, "not_an_image", frames=2))
    with pytest.raises(VideoError, match="one image"):
        video.read_image([small])


def test_sizes_that_no_policy_takes(tmp_path):
    path = encode(tmp_path / "a.mp4", scene(4, 16, 4096))
    assert "4096x16 pixels" in str(refusal(path, "bad_ratio", budget=Budget(28)))


def test_a_backend_that_loses_frames_is_a_bug(tmp_path, monkeypatch):
    from video import backends

    path = encode(tmp_path / "a.mp4", scene(4))
    monkeypatch.setattr(backends.load("decord"), "decode", lambda scan, indices, threads: iter(()))
    with pytest.raises(RuntimeError, match="0 of 4 frames"):
        video.read_frames(path, frames=4)


@needs_shared
def test_the_real_broken_photograph():
    with pytest.raises(VideoError, match=r"corrupt\.jpg: cannot be read .*\[not_an_image\]"):
        video.read_image(SHARED / "media/image/corrupt.jpg")


def test_folders_are_read_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / f"frame_{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    found = video.read_frames(tmp_path, all_frames=True, source_fps=4.0, frame_factor=1)
    assert found.pixels[:, 0, 0, 0].tolist() == [1, 2, 10]
    assert found.timestamps.tolist() == [0.0, 0.25, 0.5]
    assert (found.metadata.codec, found.metadata.fps, found.metadata.duration) == ("images", 4.0, 0.75)
    about = video.probe(tmp_path)
    assert (about.total_frames, about.width, about.height) == (3, 32, 32)


def test_lists_are_sampled_like_videos():
    pictures = [np.full((32, 32, 3), i, np.uint8) for i in range(20)]
    found = video.read_frames(pictures, fps=2.0, source_fps=4.0, start=1.0, end=4.0)
    # Frames 4 to 16 are 13 frames, 3.25 s: 6.5 frames at 2 fps, rounded down to 6.
    assert found.metadata.indices == (4, 6, 9, 11, 14, 16)
    assert found.pixels[:, 0, 0, 0].tolist() == list(found.metadata.indices)
    assert found.timestamps.tolist() == [i / 4 for i in found.metadata.indices]


def test_transparency_lies_over_white_and_orientation_is_applied(tmp_path):
    Image.new("RGBA", (32, 32), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (video.read_image(tmp_path / "clear.png").pixels == 255).all()
    turned = Image.new("RGB", (64, 32))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert video.read_image(tmp_path / "turned.jpg", Budget(16, min_pixels=16)).pixels.shape == (1, 3, 64, 32)


def read_or_reason(path) -> str:
    torch.set_num_threads(1)
    try:
        return f"{len(video.read_frames(path, frames=4, truncated='keep'))} frames"
    except VideoError as error:
        return error.reason


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_damaged_bytes_are_read_or_refused(tmp_path, name):
    """Whatever is wrong with a file, nothing but a VideoError comes out."""
    data = np.frombuffer(encode(tmp_path / name, scene(16, 48, 64), g=4).read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    paths = []
    for number in range(24):
        broken, at = data.copy(), random.integers(0, len(data))
        if number % 3 == 0:
            broken[random.integers(0, len(data), 10)] = random.integers(0, 256, 10)
        elif number % 3 == 1:
            broken[at : at + 200] = 0
        else:
            broken = np.delete(broken, slice(at, at + 100))
        paths.append(tmp_path / f"{number}_{name}")
        broken.tofile(paths[-1])
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        outcomes = list(pool.map(read_or_reason, paths))
    assert "4 frames" in outcomes
    assert set(outcomes) > {"4 frames"} or name == "a.ts"
