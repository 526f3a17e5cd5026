"""Small encoded videos that tests write, and samples that show them."""

import numpy as np

from mmrl.contracts.types import Sample


def write_video(path, seconds=2, fps=8, width=64, height=48, seed=0):
    """An MPEG-4 file of smooth random pictures, a new one each frame."""
    import av

    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for _ in range(int(seconds * fps)):
            small = rng.integers(0, 256, (4, 4, 3), np.uint8)
            picture = np.kron(small, np.ones((height // 4, width // 4, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def video_sample(*videos, images=(), text="What happens?", target=None, task="ocr", **fields):
    """A sample with images, then videos, before its text."""
    media = [*({"type": "image"} for _ in images), *({"type": "video"} for _ in videos)]
    messages = ({"role": "user", "content": [*media, {"type": "text", "text": text}]},)
    shown = tuple(v if isinstance(v, (list, dict)) else str(v) for v in videos)
    return Sample("video", messages, task, target or {"text": "1"}, tuple(images), shown, **fields)
