"""Encoded videos of many kinds, written by PyAV for the decoding tests, and their plain decoding as the truth."""

import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.support.paths import ROOT


def scene(frames=30, height=96, width=128) -> np.ndarray:
    """uint8 [T, H, W, 3]: a smooth picture in which a square moves, so that every frame differs from the others."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.zeros((frames, height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = columns * 255 // width, rows * 255 // height
    side = height // 4
    for t in range(frames):
        pixels[t, ..., 2] = t * 255 // max(frames - 1, 1)
        x, y = t * 5 % (width - side), t * 3 % (height - side)
        pixels[t, y : y + side, x : x + side] = [255, 255 - t * 4 % 255, t * 7 % 255]
    return pixels


def encode(
    path, pixels=None, *, codec="libx264", fmt="yuv420p", rate=25, pts=None, base=None, offset=0, rotation=0,
    muxer=None, **options,
) -> Path:  # fmt: skip
    """Writes frames [T, H, W, 3]. `pts` are ticks of `base`, by default one per frame; `rotation` counterclockwise."""
    import av

    pixels = scene() if pixels is None else pixels
    base = base or 1 / Fraction(rate)
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={k: str(v) for k, v in options.items()})
        stream.height, stream.width, stream.pix_fmt = pixels.shape[1], pixels.shape[2], fmt
        stream.time_base = stream.codec_context.time_base = base
        if rotation:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(pixels):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (number if pts is None else pts[number]) + offset, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Path(path)


def encode_apart(path, **settings) -> Path:
    """`encode` in a process of its own, for libvpx: decord's copy of it, once loaded, takes over PyAV's calls."""
    code = f"from tests.support.clips import encode; encode({str(path)!r}, **{settings!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return Path(path)


def add_sound(path) -> Path:
    """Writes a file with nothing but a tone."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        wave = np.sin(np.arange(16000) / 20).astype(np.float32)[None]
        for part in np.split(wave[:, : 1024 * 15], 15, axis=1):
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Path(path)


def uneven(frames=30, seed=0) -> list[int]:
    """pts in milliseconds with gaps between 10 and 90."""
    return np.cumsum(np.random.default_rng(seed).integers(10, 90, frames)).tolist()


def has_encoder(name: str, fmt: str | None = None) -> bool:
    import av

    if name not in av.codec.codecs_available:
        return False
    return fmt is None or fmt in [f.name for f in av.codec.Codec(name, "w").video_formats or ()]


def cut(source: Path, target: Path, share: float) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def trim_by_edit_list(source: Path, target: Path, frames: int, ticks: int) -> Path:
    """Moves the start of an MP4's edit list by whole frames of `ticks`: the frames before stay in the file, hidden."""
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 12
    length, start = struct.unpack(">Ii", data[at : at + 8])
    data[at : at + 8] = struct.pack(">Ii", length, start + frames * ticks)
    target.write_bytes(data)
    return target


def decode_all(path, stream=None) -> tuple[np.ndarray, np.ndarray]:
    """Every frame by one plain pass of FFmpeg, turned as shown, uint8 [T, H, W, 3]; container times float64 [T], s."""
    import av

    with av.open(str(path)) as container:
        chosen = container.streams.best("video") if stream is None else container.streams[stream]
        frames = list(container.decode(chosen))
        pictures = [np.rot90(f.to_ndarray(format="rgb24"), f.rotation // 90) for f in frames]
        return np.stack(pictures), np.array([float(f.pts * f.time_base) for f in frames])


def channels_last(pixels) -> np.ndarray:
    """[T, 3, H, W] tensor to int [T, H, W, 3] array."""
    return pixels.permute(0, 2, 3, 1).numpy().astype(int)
