"""Files that end before their container does, whatever the container."""

import pytest

import video
from video import VideoError
from video.ends import cut_at_end

CONTAINERS = {"mkv": "mpeg4", "mp4": "mpeg4", "mov": "mpeg4", "avi": "mpeg4", "ts": "mpeg2video", "flv": "flv"}


def write(path, codec):
    av = pytest.importorskip("av")
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
    # An index in front, so that a cut does not take it away.
    options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_cut_is_told(tmp_path, container):
    path = tmp_path / f"whole.{container}"
    write(path, CONTAINERS[container])
    assert cut_at_end(path) is None
    assert len(video.read_frames(path, all_frames=True, frame_factor=1)) == 12
    content = path.read_bytes()
    for missing in (1, 100, len(content) // 30):
        cut = tmp_path / f"cut.{container}"
        cut.write_bytes(content[:-missing])
        assert cut_at_end(cut), missing
    with pytest.raises(VideoError, match=r"\[truncated\]"):
        video.read_frames(cut, all_frames=True, frame_factor=1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + b"x" * 50,
        b"\0\0\0\0ftyp" + b"x" * 50,
        b"not a video at all",
        b"GIF89a" + b"x" * 300,
    ],
)
def test_what_has_no_length_is_not_called_cut(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert cut_at_end(tmp_path / "x") is None
