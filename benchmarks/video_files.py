"""Videos for benchmarks: a camera that pans over a textured plane while objects move, with sensor noise, as H.264."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

RATE = 24
# What FFmpeg builds may lack; MPEG-4 is in all of them.
CODECS = ("libx264", "mpeg4")


def write_video(path: Path, seconds: float, width: int, height: int, seed: int = 0) -> str:
    """Encodes `seconds` at 24 frames per second. Returns the codec."""
    import av

    codec = next(name for name in CODECS if name in av.codecs_available)
    random = np.random.default_rng(seed)
    plane = texture(random, height * 2, width * 3)
    objects = [(random.integers(30, 90), random.uniform(0.1, 0.6), random.integers(0, 256, 3)) for _ in range(5)]
    noise = random.normal(0, 2, (8, height, width, 1)).astype(np.float32)
    frames = round(seconds * RATE)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = width, height, "yuv420p", 1
        if codec == "libx264":
            stream.options = {"preset": "veryfast", "crf": "23"}
        for index in range(frames):
            at = index / RATE
            x = round((0.5 + 0.5 * np.sin(0.10 * at)) * width * 2)
            y = round((0.5 + 0.5 * np.sin(0.07 * at)) * height)
            picture = plane[y : y + height, x : x + width] + noise[index % len(noise)]
            for number, (side, speed, colour) in enumerate(objects):
                left = round((0.5 + 0.5 * np.sin(speed * at + number)) * (width - side))
                top = round((0.5 + 0.5 * np.cos(speed * at * 0.7 + number)) * (height - side))
                picture[top : top + side, left : left + side] = colour
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return codec


def texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of every scale, as in photographs: float32 [height, width, 3] around 0 to 255."""
    total = np.zeros((height, width, 3), np.float32)
    for scale in (2, 4, 8, 16, 32, 64):
        coarse = random.normal(0, 1, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        total += np.kron(coarse, np.ones((scale, scale, 1), np.float32))[:height, :width] * scale**0.5
    total = (total - total.mean()) / total.std()
    return 128 + 45 * total
