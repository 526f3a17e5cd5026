"""Compression of cached frames.

`lossless`       green is subtracted from red and blue, each row from the one below it (the PNG filter `up`), and zstd
                 level 1 packs each frame. Real video shrinks 3.5 to 7 times and is read back at hundreds of MB/s.
`near-lossless`  each frame is a JPEG of quality 95 without chroma subsampling: another two times smaller. Pixels are
                 off by a level or so on average and by a few tens at worst.

Both are read back into memory; only uncompressed frames are mapped.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Codec:
    """One way to store frames.

    Attributes:
        pixels: what reading gives back, as it stands in cache keys: `exact`, or the name of the loss.
        pack: one frame uint8 [3, H, W] to bytes.
        unpack: those of every frame, and an empty uint8 [T, 3, H, W], which it fills.
    """

    pixels: str
    pack: Callable[[torch.Tensor], bytes]
    unpack: Callable[[list[memoryview], torch.Tensor], None]


def encode(codec: Codec, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 [T, 3, H, W] to one stream uint8 [N] and the frames' lengths in it, int64 [T]."""
    import torch

    frames = [codec.pack(frame) for frame in pixels]
    stream = torch.frombuffer(bytearray(b"".join(frames)), dtype=torch.uint8)
    return stream, torch.tensor([len(frame) for frame in frames])


def decode(codec: Codec, stream: torch.Tensor, lengths: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """What `encode` packed, as uint8 [T, 3, H, W]."""
    import torch

    whole, start, frames = memoryview(stream.numpy()), 0, []
    for length in lengths.tolist():
        frames.append(whole[start : start + length])
        start += length
    pixels = torch.empty(shape, dtype=torch.uint8)
    codec.unpack(frames, pixels)
    return pixels


def _zstd():
    import pyarrow

    return pyarrow.Codec("zstd", compression_level=1)


def _pack_exact(frame: torch.Tensor) -> bytes:
    planes = frame.clone()
    planes[0] -= frame[1]
    planes[2] -= frame[1]
    rows = planes.clone()
    rows[:, 1:] -= planes[:, :-1]
    return _zstd().compress(rows.numpy(), asbytes=True)


def _unpack_exact(frames: list[memoryview], pixels: torch.Tensor) -> None:
    import numpy as np

    zstd = _zstd()
    for packed, frame in zip(frames, pixels.numpy().reshape(len(pixels), -1), strict=True):
        frame[:] = np.frombuffer(zstd.decompress(packed, frame.size), np.uint8)
    for row in range(1, pixels.shape[2]):
        pixels[:, :, row] += pixels[:, :, row - 1]
    pixels[:, 0] += pixels[:, 1]
    pixels[:, 2] += pixels[:, 1]


def _pack_jpeg(frame: torch.Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _unpack_jpeg(frames: list[memoryview], pixels: torch.Tensor) -> None:
    import numpy as np
    import torch
    from PIL import Image

    for packed, frame in zip(frames, pixels, strict=True):
        with Image.open(io.BytesIO(packed), formats=["JPEG"]) as image:
            frame.copy_(torch.from_numpy(np.array(image)).permute(2, 0, 1))


# "none" stores the frames as they are.
CODECS: dict[str, Codec | None] = {
    "none": None,
    "lossless": Codec("exact", _pack_exact, _unpack_exact),
    "near-lossless": Codec(f"jpeg-{JPEG_QUALITY}", _pack_jpeg, _unpack_jpeg),
}
