"""Whether a file ends before its container does: a few headers are read, and nothing is decoded.

A cut at the very border of two packets of MPEG-TS or pages of Ogg, in what was written live, or in what has no lengths
at all (raw streams), cannot be seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Boxes and chunks looked at: a fragmented MP4 has two for each fragment.
MOST_PARTS = 1_000_000
_SEGMENT, _EBML = 0x18538067, 0x1A45DFA3
_TS_PACKET, _TS_SYNC = 188, 0x47


def cut_at_end(path: Path) -> str | None:
    """What shows that a video's file lacks its end, in words; None: nothing does."""
    size = os.path.getsize(path)
    with path.open("rb") as file:
        head = file.read(_TS_PACKET + 1)
        for fits, look in _CONTAINERS:
            if fits(head):
                file.seek(0)
                return look(file, size)
    return None


def _matroska(file: BinaryIO, size: int) -> str | None:
    """EBML: an id and a length; the second element of the file is the segment, which holds all others."""
    for expected in (_EBML, _SEGMENT):
        name, length = _number(file, keep_marker=True), _number(file, keep_marker=False)
        if name != expected or length is None:
            # A length of ones is an unknown one, of what was written live.
            return None
        if expected == _SEGMENT:
            return _missing(file.tell() + length, size)
        file.seek(length, os.SEEK_CUR)
    return None


def _number(file: BinaryIO, keep_marker: bool) -> int | None:
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    width = 9 - first[0].bit_length()
    value = first[0] if keep_marker else first[0] & ((1 << (8 - width)) - 1)
    rest = file.read(width - 1)
    if len(rest) < width - 1:
        return None
    value = value << (8 * len(rest)) | int.from_bytes(rest, "big")
    unknown = not keep_marker and value == (1 << (7 * width)) - 1
    return None if unknown else value


def _boxes(file: BinaryIO, size: int) -> str | None:
    """ISO base media (MP4, MOV): boxes of a length and four letters, one behind the other to the end of the file."""
    place = 0
    for _ in range(MOST_PARTS):
        file.seek(place)
        head = file.read(16)
        if not head:
            return None
        if len(head) < 8:
            return f"it ends within the head of a box, after {len(head)} bytes"
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0 or (length < 8 and length != 1):
            # It lasts to the end of the file, or is none.
            return None
        place += length
        if place > size:
            return _missing(place, size)
    return None


def _riff(file: BinaryIO, size: int) -> str | None:
    return _missing(8 + int.from_bytes(file.read(8)[4:], "little"), size)


def _transport(file: BinaryIO, size: int) -> str | None:
    left = size % _TS_PACKET
    return f"its last packet has {left} of {_TS_PACKET} bytes" if left else None


def _ogg(file: BinaryIO, size: int) -> str | None:
    """Pages, each with the lengths of its parts."""
    tail_size = min(size, 2 * 65_307)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    last = tail.rfind(b"OggS")
    if last < 0 or last + 27 > len(tail):
        return "it ends within a page"
    segments = tail[last + 26]
    lengths = tail[last + 27 : last + 27 + segments]
    if len(lengths) < segments or last + 27 + segments + sum(lengths) > len(tail):
        return "it ends within a page"
    return None


def _flash(file: BinaryIO, size: int) -> str | None:
    """FLV: each tag is followed by its length."""
    file.seek(size - 4)
    length = int.from_bytes(file.read(4), "big")
    start = size - 4 - length
    if start < 9:
        return "it ends within a tag"
    file.seek(start)
    head = file.read(4)
    whole = head[0] & 0x1F in (8, 9, 18) and int.from_bytes(head[1:], "big") + 11 == length
    return None if whole else "it ends within a tag"


def _missing(end: int, size: int) -> str | None:
    return f"{end - size:,} bytes are missing at its end" if end > size else None


_CONTAINERS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], str | None]], ...] = (
    (lambda head: head[:4] == b"\x1a\x45\xdf\xa3", _matroska),
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"), _boxes),
    (lambda head: head[:4] == b"RIFF", _riff),
    (lambda head: len(head) > _TS_PACKET and head[0] == head[_TS_PACKET] == _TS_SYNC, _transport),
    (lambda head: head[:4] == b"OggS", _ogg),
    (lambda head: head[:3] == b"FLV", _flash),
)
