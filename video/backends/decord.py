"""decord: fast random access, where it can be trusted to find a frame again.

Its frames equal FFmpeg's own bit for bit (10-bit and odd-sized ones up to the interpolation of colour), but it counts
packets after a seek, and where that goes wrong it returns other frames without a word. Measured on decord 0.6.0, which
bundles FFmpeg 4.1: frames are misplaced in H.265, MPEG-2 and MPEG-4 streams with open groups of pictures and in H.264
with rolling intra refresh; in MPEG-TS, MPEG-PS and AVI; hidden frames of trimmed MP4 files are shown; AV1 and GIF are
not read; the ends of cut files are filled with repeats. `unreadable` names these, and `auto` turns to PyAV.
"""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from video.scan import Scan
from video.types import VideoError

# What its random access was seen to get right; elsewhere it counts or seeks wrongly without saying so.
CODECS = ("h264", "hevc", "vp8", "vp9", "mpeg4", "mpeg2video", "mjpeg", "ffv1", "prores")
CONTAINERS = ("mov", "matroska")
# A share of recovered frames above this raises: decord otherwise repeats neighbours for frames that do not decode.
FAULT_TOLERANCE = 1e-9
CHUNK_BYTES = 64 << 20
# It hands out what FFmpeg puts in place of damaged pictures.
SEES_DAMAGE = False
READS_ALL = False


@cache
def available() -> str | None:
    try:
        _keep_its_runtime_to_itself()
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        return f"{str(error).splitlines()[0]}; pip install decord"
    # Its messages reach the caller as exceptions; printing them too only clutters the console.
    decord.logging.set_level(decord.logging.QUIET)
    return None


def _keep_its_runtime_to_itself() -> None:
    """Loads the system's C++ runtime for everyone, before decord does so with the one that it bundles.

    A graphics driver that found decord's `__cxa_thread_atexit` would be called at exit, after it was unloaded: any
    process that had decoded here and then rendered with SAPIEN ended in a segmentation fault.
    """
    if sys.platform == "linux":
        ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)


def unreadable(scan: Scan) -> str | None:
    if scan.codec not in CODECS:
        return f"has no trusted decoder for {scan.codec}"
    if not any(name in CONTAINERS for name in scan.container.split(",")):
        return f"does not seek exactly in {scan.container}"
    if not scan.closed:
        return "misplaces frames after a seek where groups of pictures are open"
    if not scan.best:
        return "reads only the best video stream"
    if scan.trimmed:
        return "ignores edit lists, and this file hides frames by one"
    # It reserves memory for the announced number, and a damaged header there ends the whole process.
    if scan.announced not in (0, len(scan.pts)):
        return f"trusts the header, which announces {scan.announced} frames where there are {len(scan.pts)}"
    if scan.broken:
        return f"does not read files that were cut short: {scan.broken}"
    return None


def decode(scan: Scan, indices: Sequence[int], threads: int = 0) -> Iterator[np.ndarray]:
    import decord

    chunk = max(1, CHUNK_BYTES // (scan.height * scan.width * 3))
    try:
        reader = decord.VideoReader(str(scan.path), num_threads=threads, fault_tol=FAULT_TOLERANCE)
        if len(reader) != len(scan.pts):
            raise _fault(scan, f"counts {len(reader)} frames where the container has {len(scan.pts)}")
        for begin in range(0, len(indices), chunk):
            batch = reader.get_batch(list(indices[begin : begin + chunk])).asnumpy()
            if batch.shape[1:] != (scan.height, scan.width, 3):
                raise _fault(scan, f"gives {batch.shape[2]}x{batch.shape[1]}, not {scan.width}x{scan.height}")
            yield from batch
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, OSError) as error:
        raise _fault(scan, f"stops with '{_short(error)}'") from error


def _fault(scan: Scan, problem: str) -> VideoError:
    return VideoError("backend", scan.path, f"decord {problem}", "use backend='auto' or 'pyav'")


def _short(error: Exception) -> str:
    return str(error).split("\n")[0].split(": ", 1)[-1]
