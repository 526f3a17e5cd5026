"""torchcodec: PyTorch's decoder. It needs FFmpeg's shared libraries and a wheel that fits the torch build.

Measured on 0.12.0: equal to FFmpeg's own decoding bit for bit (10-bit and odd-sized frames up to the interpolation of
colour), open groups of pictures included; in MPEG-TS, MPEG-PS and AVI it returns other frames after a seek.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from video.scan import Scan
from video.types import VideoError

# The first release that applies rotation flags.
OLDEST = (0, 11)
# Those in which its seeking was seen to be exact.
CONTAINERS = ("mov", "matroska")
CHUNK_BYTES = 64 << 20
# It hands out what FFmpeg puts in place of damaged pictures.
SEES_DAMAGE = False
READS_ALL = False


@cache
def available() -> str | None:
    try:
        import torchcodec
        from torchcodec.decoders import VideoDecoder  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return (
            f"{str(error).splitlines()[0]}; it needs FFmpeg's shared libraries and a wheel for this torch build "
            "(most need CUDA, 0.12 does not): pip install 'torchcodec==0.12.*'"
        )
    version = tuple(int(part) for part in torchcodec.__version__.split(".")[:2])
    if version < OLDEST:
        return f"torchcodec {torchcodec.__version__} ignores rotation flags; pip install 'torchcodec>=0.11'"
    return None


def unreadable(scan: Scan) -> str | None:
    if not any(name in CONTAINERS for name in scan.container.split(",")):
        return f"does not seek exactly in {scan.container}"
    if scan.broken:
        return f"does not read files that were cut short: {scan.broken}"
    return None


def decode(scan: Scan, indices: Sequence[int], threads: int = 0) -> Iterator[np.ndarray]:
    from torchcodec.decoders import VideoDecoder

    chunk = max(1, CHUNK_BYTES // (scan.height * scan.width * 3))
    try:
        decoder = VideoDecoder(
            str(scan.path),
            stream_index=scan.stream,
            dimension_order="NHWC",
            num_ffmpeg_threads=threads,
            seek_mode="exact",
        )
        if decoder.metadata.num_frames != len(scan.pts):
            raise _fault(scan, f"counts {decoder.metadata.num_frames} frames where the container has {len(scan.pts)}")
        for begin in range(0, len(indices), chunk):
            yield from decoder.get_frames_at(indices=list(indices[begin : begin + chunk])).data.numpy()
    except (RuntimeError, IndexError, OSError) as error:
        raise _fault(scan, f"stops with '{str(error).splitlines()[0]}'") from error


def _fault(scan: Scan, problem: str) -> VideoError:
    return VideoError("backend", scan.path, f"torchcodec {problem}", "use backend='auto' or 'pyav'")
