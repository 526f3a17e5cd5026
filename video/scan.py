"""One pass over a video file's packets: which frames it has and when each is shown. Only the first frame is decoded.

Timestamps come from here for every backend: the container's own, as integers, so they do not depend on who decodes.
"""

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from video.bitstream import closed_groups, is_refresh
from video.checksums import sound_clusters
from video.ends import cut_at_end
from video.file_state import FileState, file_state
from video.sampling import Timeline
from video.types import VideoError, VideoMetadata

# Playlists and protocols name further files or hosts; pictures and text are no videos, though FFmpeg opens them.
REFUSED_CONTAINERS = ("hls", "dash", "concat", "image2", "tty", "sdp", "rtsp", "rtp", "lavfi", "ffmetadata")
# A stated frame rate may be off by as much from the true one: rounding, and a last frame of unknown duration.
RATE_SLACK = 1.2
# Matroska announces its length only as a duration, rounded by writers; less missing than this is no sign of a cut.
DURATION_SLACK = 0.25
# Files whose scans a process remembers: 0.3 MB for 20,000 frames.
REMEMBERED = 256
AGAIN = "fetch or encode it again, or read what decodes with truncated='keep'"


@dataclass(frozen=True, eq=False)
class Scan:
    """What the packets of one video stream say.

    pts            int64 [N], ticks of `time_base`, ascending: the frames in the order of presentation
    origin         ticks of the stream's first frame, whether it decodes or not: second 0
    last_duration  ticks that the last frame is shown
    keys           int64 [K], pts of the frames from which decoding can start
    fps            the container's average frame rate; frames per second of the pts where it states none
    width, height  as shown, after rotation; `rotation` clockwise degrees
    announced      frames that the container's header claims; 0 where it claims none
    trimmed        an edit list hides packets, so that packets and frames differ
    closed         decoding can start at every key frame and loses no frame that is shown after it
    best           the stream is the one that FFmpeg picks by itself
    broken         what shows that the file was cut short, or None
    suspect        bool [N], frames whose bytes do not match a checksum of the container; all False where it has none
    clean          bool [N], frames that were seen to decode without a sign of damage; True is written as it is seen
    """

    path: Path
    container: str
    stream: int
    best: bool
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    pts: np.ndarray
    origin: int
    last_duration: int
    keys: np.ndarray
    time_base: Fraction
    fps: float
    announced: int
    trimmed: bool
    closed: bool
    broken: str | None
    suspect: np.ndarray
    clean: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """float64 [N] seconds from the first frame."""
        ticks = (self.pts - self.origin).astype(np.float64)
        return ticks * self.time_base.numerator / self.time_base.denominator

    @property
    def duration(self) -> float:
        return float((int(self.pts[-1]) - self.origin + self.last_duration) * self.time_base)

    def timeline(self) -> Timeline:
        return Timeline(str(self.path), self.times, self.duration, self.fps)

    def only(self, pts: np.ndarray) -> "Scan":
        """The same stream with some of its frames, which are taken as they decode."""
        keys, none = self.keys[np.isin(self.keys, pts)], np.zeros(len(pts), bool)
        return replace(self, pts=pts, keys=keys, suspect=none, clean=none.copy())

    def metadata(self, backend: str, indices: tuple[int, ...] = (), sampled_fps: float | None = None) -> VideoMetadata:
        return VideoMetadata(
            fps=self.fps,
            total_frames=len(self.pts),
            duration=self.duration,
            width=self.width,
            height=self.height,
            rotation=self.rotation,
            codec=self.codec,
            backend=backend,
            start_time=float(self.origin * self.time_base),
            stream=self.stream,
            indices=indices,
            sampled_fps=sampled_fps,
        )


@contextmanager
def open_container(path: Path):
    """The file as a PyAV container, or a `VideoError` that says what it is instead."""
    try:
        import av
    except ImportError as error:
        raise VideoError("backend", path, "PyAV is not installed", "pip install av") from error
    if path.stat().st_size == 0:
        raise VideoError("not_a_video", path, "the file is empty", "fetch or encode it again")
    try:
        # Titles and tags need not be UTF-8.
        container = av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _unopened(path, error) from error
    with container:
        name = container.format.name
        if name.endswith("_pipe") or any(part in REFUSED_CONTAINERS for part in name.split(",")):
            raise VideoError("not_a_video", path, f"the content is '{name}'", "give a video file, or images as a list")
        yield container


def _unopened(path: Path, error: Exception) -> VideoError:
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError as denied:
        return VideoError("missing", path, f"cannot be opened ({denied.strerror})", "check its permissions")
    # ISO media announce themselves first and may keep their index, without which nothing can be read, to the end.
    if head[4:8] == b"ftyp":
        return VideoError("truncated", path, "an MP4 without its index (moov): cut short", "fetch or encode it again")
    if isinstance(error, EOFError):
        return VideoError("no_frames", path, "the file ends before its first frame", "fetch or encode it again")
    return VideoError(
        "not_a_video",
        path,
        f"no video container ({_short(error)})",
        "check the file's content; the name decides nothing",
    )


def _short(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).split("\n")[0]


def pick_stream(container: Any, path: Path, index: int | None) -> tuple[Any, bool]:
    """The video stream asked for (None: FFmpeg's best), and whether it is the best."""
    import av

    cover = av.stream.Disposition.attached_pic
    videos = [s for s in container.streams.video if not s.disposition & cover]
    if not videos:
        kinds = ", ".join(sorted({s.type for s in container.streams}))
        if not kinds:
            raise VideoError("no_frames", path, "a container without any stream", "fetch or encode it again")
        if "audio" in kinds:
            raise VideoError("audio_only", path, "sound without a video stream", "drop the row or give the video file")
        raise VideoError("not_a_video", path, f"the container holds {kinds}", "give a file with a video stream")
    best = container.streams.best("video")
    if index is None:
        chosen = best if best in videos else videos[0]
        return chosen, chosen is best
    for stream in videos:
        if stream.index == index:
            return stream, stream is best
    allowed = ", ".join(str(s.index) for s in videos)
    raise VideoError("bad_spec", path, f"stream {index} is no video stream", f"video streams: {allowed}")


def scan_file(path: Path, stream: int | None = None) -> Scan:
    """Scans a video file, or recalls its scan where the file is the one that this process scanned before.

    Scans of the last `REMEMBERED` files are kept, by path, device, inode, size and times; never of a file that was
    written moments ago, whose times may stay as they are when it is written again.

    Raises:
        VideoError: `not_a_video`, `audio_only`, `no_frames`, `truncated` (nothing decodes at all), `bad_spec`,
            `backend` (FFmpeg as bundled with PyAV does not know the codec), `missing`.
    """
    try:
        state = file_state(path)
    except OSError as error:
        cure = "check the path, and that the file can be read"
        raise VideoError("missing", path, error.strerror or str(error), cure) from error
    return (_remembered if state.settled else _scan)(path, stream, state)


def _scan(path: Path, stream: int | None, state: FileState) -> Scan:
    """The scan; `state` only tells one version of the file from another."""
    import av

    with open_container(path) as container:
        chosen, best = pick_stream(container, path, stream)
        if chosen.codec_context is None:
            raise VideoError("backend", path, "FFmpeg does not know the codec of its video", "encode it as H.264")
        chosen.codec_context.thread_count = 1
        packets = _Packets(chosen)
        try:
            for packet in container.demux():
                packets.add(packet)
        except (av.error.FFmpegError, IndexError) as error:
            # IndexError is how PyAV meets a stream that damaged bytes announce half-way through the file.
            packets.error = f"reading stops with '{_short(error)}'"
        if not packets.pts:
            if packets.untimed:
                raise VideoError(
                    "not_a_video", path, "a bare stream without timestamps", "wrap it: ffmpeg -i IN -c copy OUT.mp4"
                )
            raise VideoError("no_frames", path, "the video stream has no frames", "drop the row or fetch it again")
        if packets.first is None:
            raise VideoError("truncated", path, f"no frame of the {chosen.codec_context.name} stream decodes", AGAIN)
        return _assemble(path, container, chosen, best, packets)


_remembered = lru_cache(maxsize=REMEMBERED)(_scan)


class _Packets:
    """Collects what packets say, and decodes until the first frame is out."""

    def __init__(self, stream: Any):
        self.stream, self.first, self.error, self.end = stream, None, None, 0.0
        self.pts: dict[int, int] = {}
        self.places: dict[int, int | None] = {}
        self.keys: list[int] = []
        self.refreshing = True
        self.untimed = self.partial = 0
        self.trimmed = False

    def add(self, packet: Any) -> None:
        if packet.stream.index == self.stream.index and self.first is None:
            self._decode(packet)
        if packet.size == 0:
            return
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            self.end = max(self.end, float((time + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index != self.stream.index:
            return
        self.partial += packet.is_corrupt
        if packet.is_discard:
            self.trimmed = True
        elif time is None:
            self.untimed += 1
        else:
            self.pts[time], self.places[time] = packet.duration or 0, packet.pos
            if packet.is_keyframe:
                self.keys.append(time)
                context = self.stream.codec_context
                if self.refreshing and context.codec.canonical_name == "h264":
                    self.refreshing = is_refresh(context.extradata, bytes(packet))

    def _decode(self, packet: Any) -> None:
        import av

        try:
            self.first = next(iter(packet.decode()), None)
        except av.error.FFmpegError:
            return


def _assemble(path: Path, container: Any, stream: Any, best: bool, packets: _Packets) -> Scan:
    in_file = np.array(list(packets.pts), dtype=np.int64)
    pts = np.sort(in_file)
    rotation = -round(packets.first.rotation / 90) * 90 % 360
    width, height = packets.first.width, packets.first.height
    last = packets.pts[int(pts[-1])] or (int(np.median(np.diff(pts))) if len(pts) > 1 else 0)
    length = float((int(pts[-1] - pts[0]) + last) * stream.time_base)
    keys = np.array(sorted(packets.keys), dtype=np.int64)
    suspect = _suspect(path, container, pts, packets)
    # Callers in several threads share one scan.
    for shared in (pts, keys, suspect):
        shared.setflags(write=False)
    return Scan(
        path=path,
        container=container.format.name,
        stream=stream.index,
        best=best,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=packets.first.format.name,
        width=height if rotation % 180 else width,
        height=width if rotation % 180 else height,
        rotation=rotation,
        pts=pts,
        origin=int(pts[0]),
        last_duration=last,
        keys=keys,
        time_base=stream.time_base,
        fps=_frame_rate(stream.average_rate, len(pts), int(pts[-1] - pts[0]) * stream.time_base, length),
        announced=stream.frames,
        trimmed=packets.trimmed,
        closed=packets.refreshing and closed_groups(in_file, np.isin(in_file, packets.keys)),
        broken=_broken(path, container, stream, packets),
        suspect=suspect,
        clean=np.zeros(len(pts), bool),
    )


def _frame_rate(stated: Any, frames: int, span: Fraction, length: float) -> float:
    """Frames per second: what the header states, unless the frames' own times say otherwise.

    Matroska's headers hold what their writer thought of: 1000 in the recordings of browsers. The duration of the last
    frame comes from there too, so that the times of the others decide.

    Args:
        span: seconds from the first frame to the last.
        length: seconds to the end of the last.
    """
    true = float((frames - 1) / span) if span > 0 else frames / length if length > 0 else None
    if stated is None or not float(stated) > 0:
        return frames / length if length > 0 else 1.0
    if true is not None and not 1 / RATE_SLACK <= float(stated) / true <= RATE_SLACK:
        return true
    return float(stated)


def _suspect(path: Path, container: Any, pts: np.ndarray, packets: _Packets) -> np.ndarray:
    sound = sound_clusters(path) if "matroska" in container.format.name else None
    if sound is None or sound.all:
        return np.zeros(len(pts), bool)
    return np.array([not sound.holds(packets.places[time]) for time in pts.tolist()])


def _broken(path: Path, container: Any, stream: Any, packets: _Packets) -> str | None:
    if packets.error:
        return packets.error
    size = os.path.getsize(path)
    reach = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    if reach > size:
        return f"the index points {reach - size} bytes beyond the end of the file"
    if packets.partial:
        return f"{packets.partial} packets are incomplete"
    announced = (container.duration or 0) / 1e6
    if "matroska" in container.format.name and announced - packets.end > DURATION_SLACK:
        return f"{announced:.3f} s are announced, {packets.end:.3f} s are there"
    return cut_at_end(path)
