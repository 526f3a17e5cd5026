"""PyAV: FFmpeg's own decoders, every container and codec; says exactly which frame does not decode."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from video.scan import AGAIN, Scan, open_container
from video.types import VideoError

# `decode` itself refuses what was damaged.
SEES_DAMAGE = True
READS_ALL = True
# Seeking to a key frame by its timestamp is exact where the container has an index.
INDEXED = ("mov", "matroska")


def available() -> str | None:
    try:
        import av  # noqa: F401
    except ImportError as error:
        return f"{error}; pip install av"
    return None


def unreadable(scan: Scan) -> str | None:
    return None


def decode(scan: Scan, indices: Sequence[int], threads: int = 0) -> Iterator[np.ndarray]:
    for frame in _decode_wanted(scan, indices, threads):
        yield _picture(scan, frame)


def check(scan: Scan, indices: Sequence[int], threads: int = 0) -> None:
    """Decodes frames and drops them, those that this scan has seen decode left out.

    Raises:
        VideoError: `truncated`, as `decode`.
    """
    unchecked = [i for i in indices if not scan.clean[i]]
    if unchecked:
        for _ in _decode_wanted(scan, unchecked, threads):
            pass


def _decode_wanted(scan: Scan, indices: Sequence[int], threads: int) -> Iterator[Any]:
    targets = [int(scan.pts[i]) for i in indices]
    count = 0
    with open_container(scan.path) as container:
        for frame in _seek_frames(container, scan, targets, threads):
            yield frame
            count += 1
    if count == len(targets):
        return
    # Seeking and threads can both blame good frames (an open group of pictures, an error ahead): a plain pass decides.
    with open_container(scan.path) as container:
        frames = clean_frames(container, scan, threads=1)
        for frame in (f for f in frames if f.pts >= targets[count]):
            if frame.pts > targets[count]:
                break
            yield frame
            count += 1
            if count == len(targets):
                return
    time = float((targets[count] - scan.origin) * scan.time_base)
    raise VideoError("truncated", scan.path, f"the frame at {time:.3f} s does not decode", AGAIN)


def decodable(scan: Scan) -> np.ndarray:
    """pts [M] of the frames that decode, in one pass over the whole file."""
    with open_container(scan.path) as container:
        good = np.array([f.pts for f in clean_frames(container, scan, threads=1)], dtype=np.int64)
    return np.intersect1d(good, scan.pts)


def clean_frames(container: Any, scan: Scan, threads: int, stop_at_error: bool = False) -> Iterator[Any]:
    """Frames in the order of presentation, from where the container stands, without those that do not decode.

    After an error the rest of the group of pictures, in the order of decoding, is left out too: decoders fill it with
    guesswork. The scan notes those that come as clean.
    """
    import av

    stream = container.streams[scan.stream]
    if not stream.codec_context.is_open:
        # With its log switched on, PyAV's decoding threads wait for the interpreter lock and can deadlock on closing.
        stream.codec_context.thread_count = threads if av.logging.get_level() is None else 1
        stream.thread_type = "AUTO"
    group = _Group()
    for packet in _packets(container, stream):
        group.enter(packet)
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            if stop_at_error:
                return
            group.spoil_from(group.ordinal)
            continue
        for frame in frames:
            if group.accepts(frame):
                _note_clean(scan, frame.pts)
                yield frame
            elif stop_at_error:
                return


def _note_clean(scan: Scan, pts: int) -> None:
    place = int(np.searchsorted(scan.pts, pts))
    if place < len(scan.pts) and scan.pts[place] == pts:
        scan.clean[place] = True


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets as far as the file can be read: frames that are missing then are missed by who wants them."""
    import av

    try:
        yield from container.demux(stream)
    except (av.error.FFmpegError, IndexError):
        return


class _Group:
    """Where frames stand in the order of decoding, and from where on their group of pictures is spoilt."""

    def __init__(self):
        self.ordinal, self.key, self.start = 0, None, 0
        self.places: dict[int, tuple[int, int, int | None]] = {}
        self.spoilt: dict[int, int] = {}

    def enter(self, packet: Any) -> None:
        if packet.size == 0:
            return
        self.ordinal += 1
        time = packet.pts if packet.pts is not None else packet.dts
        if packet.is_keyframe:
            self.key, self.start = time, self.ordinal
        self.places[time] = (self.start, self.ordinal, self.key)

    def spoil_from(self, ordinal: int) -> None:
        self.spoilt.setdefault(self.start, ordinal)

    def accepts(self, frame: Any) -> bool:
        if frame.pts is None:
            return False
        start, ordinal, key = self.places.pop(frame.pts, (self.start, self.ordinal, self.key))
        # Frames shown before the key frame that precedes them in the file need the group before: no fault of this one.
        if frame.is_corrupt and (key is None or frame.pts >= key):
            self.spoilt[start] = min(self.spoilt.get(start, ordinal), ordinal)
        return not frame.is_corrupt and ordinal < self.spoilt.get(start, ordinal + 1)


def _seek_frames(container: Any, scan: Scan, targets: Sequence[int], threads: int) -> Iterator[Any]:
    """The wanted frames as long as they come, jumping to the key frame before each where that skips anything."""
    indexed = any(name in INDEXED for name in scan.container.split(","))
    frames = clean_frames(container, scan, threads, stop_at_error=True)
    reached = int(scan.pts[0])
    for target in targets:
        place = int(np.searchsorted(scan.keys, target, side="right")) - 1
        if indexed and place >= 0 and scan.keys[place] > reached:
            container.seek(int(scan.keys[place]), stream=container.streams[scan.stream], backward=True)
            frames = clean_frames(container, scan, threads, stop_at_error=True)
        frame = next((f for f in frames if f.pts >= target), None)
        if frame is None or frame.pts != target:
            return
        reached = target
        yield frame


def _picture(scan: Scan, frame: Any) -> np.ndarray:
    """uint8 [H, W, 3] as shown."""
    rgb = frame.to_ndarray(format="rgb24")
    rgb = np.rot90(rgb, -(scan.rotation // 90)) if scan.rotation else rgb
    if rgb.shape != (scan.height, scan.width, 3):
        raise VideoError(
            "mixed_sizes",
            scan.path,
            f"the frames change size from {scan.width}x{scan.height} to {rgb.shape[1]}x{rgb.shape[0]}",
            "encode the video at one size",
        )
    return rgb
