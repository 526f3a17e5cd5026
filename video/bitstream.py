"""The one question that containers leave open: can decoding start at a key frame without anything before it?"""

import re
from collections.abc import Iterator

import numpy as np

# NAL unit type of an instantaneous decoder refresh (H.264, table 7-1): everything after it stands on its own.
IDR = 5
START_CODE = re.compile(rb"\x00\x00\x01")


def closed_groups(pts: np.ndarray, keys: np.ndarray) -> bool:
    """Whether no frame that follows a key frame in the file is shown before it.

    Args:
        pts: int64 [N] in the order of the file.
        keys: bool [N], the key frames among them.
    """
    later = np.minimum.accumulate(pts[::-1])[::-1]
    return bool((later[keys] == pts[keys]).all())


def is_refresh(extradata: bytes | None, packet: bytes) -> bool:
    """Whether an H.264 packet that the container calls a key frame resets the decoder.

    Streams with rolling intra refresh mark frames as key from which the picture only heals over the next ones.
    """
    return IDR in _nal_types(extradata, packet)


def _nal_types(extradata: bytes | None, packet: bytes) -> Iterator[int]:
    # An avcC record starts with version 1 and keeps the size of the length prefixes in byte 4 (ISO/IEC 14496-15).
    if extradata and extradata[0] == 1 and len(extradata) > 4:
        prefix, position = (extradata[4] & 3) + 1, 0
        while position + prefix < len(packet):
            yield packet[position + prefix] & 31
            position += prefix + int.from_bytes(packet[position : position + prefix])
    else:
        for code in START_CODE.finditer(packet):
            if code.end() < len(packet):
                yield packet[code.end()] & 31
