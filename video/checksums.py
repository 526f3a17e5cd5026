"""Checksums that Matroska and WebM files may carry: a CRC-32 in front of each cluster, as FFmpeg's writer puts it.

They find damage that no decoder can: most codecs decode flipped bits to other pictures without an error. Elements and
their checksums are those of EBML (RFC 8794, sections 4, 5 and 11.3.1).
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
# EBML header, SeekHead, Info, Tracks, Cues, Attachments, Chapters, Tags, Void, CRC-32: they hold no frames.
FRAMELESS = {
    0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF
}  # fmt: skip
# A CRC-32 element is its id, its length and four bytes, little endian, over what follows it in its parent.
CRC_HEADER, CRC_BYTES = b"\xbf\x84", 6
# Longest id and longest size of an element.
HEADER_BYTES = 12
CHUNK = 2**22


@dataclass(frozen=True)
class Sound:
    """Byte ranges [start, end) of clusters that match their checksum, and whether that is all of the file."""

    ranges: tuple[tuple[int, int], ...]
    all: bool

    def holds(self, position: int | None) -> bool:
        """Whether a packet at this byte of the file is as it was written."""
        return self.all or (position is not None and any(start <= position < end for start, end in self.ranges))


def sound_clusters(path: Path) -> Sound | None:
    """Reads every byte of a Matroska file; None where no cluster has a checksum. Raises OSError."""
    ranges, checked, whole = [], False, True
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        position, end = 0, size
        while position < end:
            element = _element(file, position)
            if element is None:
                whole = False
                break
            kind, start, length = element
            if kind == SEGMENT:
                position, end = start, size if length is None else min(size, start + length)
                continue
            if length is None or start + length > size:
                whole = False
                break
            if kind == CLUSTER:
                match = _matches(file, start, length)
                checked |= match is not None
                whole &= bool(match)
                ranges += [(position, start + length)] if match else []
            elif kind not in FRAMELESS:
                # A cluster whose name is damaged looks like this.
                whole = False
            position = start + length
    return Sound(tuple(ranges), whole) if checked else None


def _element(file: BinaryIO, position: int) -> tuple[int, int, int | None] | None:
    """Id, first byte of the content, and its length (None: until the parent ends); None where no element starts."""
    file.seek(position)
    head = file.read(HEADER_BYTES)
    id_bytes = _width(head[:1])
    size_bytes = _width(head[id_bytes : id_bytes + 1])
    if not 1 <= id_bytes <= 4 or not size_bytes or len(head) < id_bytes + size_bytes:
        return None
    size = int.from_bytes(head[id_bytes : id_bytes + size_bytes]) & (1 << 7 * size_bytes) - 1
    unknown = size == (1 << 7 * size_bytes) - 1
    return int.from_bytes(head[:id_bytes]), position + id_bytes + size_bytes, None if unknown else size


def _width(first: bytes) -> int:
    """Bytes of a number of variable width, by its first one; 0 where there is none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _matches(file: BinaryIO, start: int, length: int) -> bool | None:
    """Whether the content matches the checksum that it starts with; None where it starts with none."""
    file.seek(start)
    head = file.read(CRC_BYTES)
    if not head.startswith(CRC_HEADER):
        return None
    checksum, left = 0, length - CRC_BYTES
    while left > 0 and (chunk := file.read(min(left, CHUNK))):
        checksum, left = zlib.crc32(chunk, checksum), left - len(chunk)
    return left == 0 and checksum == int.from_bytes(head[2:], "little")
