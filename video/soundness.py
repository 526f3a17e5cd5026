"""Frames are refused where the file shows that they are not what was encoded.

Two signs are looked for: FFmpeg's own, errors of parsing that its decoders meet and conceal, and checksums of the
container (`video.checksums`). Flipped bits of H.264 and MPEG-4 show by the first, but for some near the end of a
picture; those of HEVC, FFV1 and Motion JPEG, and many of ProRes, decode to other pictures without an error, so that
only a container with checksums tells.
"""

from collections.abc import Sequence

import numpy as np

from video.backends import pyav
from video.scan import AGAIN, Scan
from video.types import VideoError


def require_sound(scan: Scan, indices: Sequence[int], decoder_sees_damage: bool, threads: int = 0) -> None:
    """Passes frames, with what they are decoded from, through the checks; FFmpeg's once for each frame of a scan.

    Args:
        indices: ascending frame numbers.
        decoder_sees_damage: the decoder that will be asked for these frames makes FFmpeg's check itself.

    Raises:
        VideoError: `truncated`.
    """
    if scan.suspect.any():
        _match_checksums(scan, indices)
    if not decoder_sees_damage:
        pyav.check(scan, indices, threads)


def _match_checksums(scan: Scan, indices: Sequence[int]) -> None:
    """Refuses frames of a group of pictures with a suspect frame; the next group's key frame counts with it, as open
    groups need it."""
    borders = np.searchsorted(scan.pts, scan.keys)
    for index in indices:
        group = int(np.searchsorted(borders, index, side="right"))
        begin = borders[group - 1] if group else 0
        end = borders[group] + 1 if group < len(borders) else len(scan.pts)
        if scan.suspect[begin:end].any():
            time = scan.times[index]
            problem = f"the bytes around {time:.3f} s do not match the file's checksum"
            raise VideoError("truncated", scan.path, problem, AGAIN)
