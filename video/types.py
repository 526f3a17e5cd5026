"""What the rooms of this package hand to each other: specifications in, frames out, and one error."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

REASONS = {
    "missing": "no such file or folder",
    "outside_root": "the path leaves the media root",
    "not_a_video": "the bytes are no container that can be read",
    "audio_only": "a container without a video stream",
    "changed": "the file was written to while it was read",
    "truncated": "frames that the container announces do not decode, or are damaged",
    "no_frames": "a video stream, a folder or a list without a single frame",
    "not_an_image": "a frame or an image that cannot be read",
    "mixed_sizes": "frames of one folder or list differ in size",
    "bad_interval": "the clip is empty or lies outside the video",
    "bad_timestamp": "a timestamp lies outside the video",
    "too_few_frames": "the clip has fewer frames than the sampling asks for",
    "over_budget": "the frames asked for do not fit the budget",
    "bad_ratio": "the picture is too long and thin for the policy",
    "bad_spec": "settings that contradict each other",
    "backend": "the backend is unknown, absent or cannot read this file",
}


class VideoError(ValueError):
    """A video or image that is refused, in one line: the path, what is wrong, and the cure.

    `reason` is a key of `REASONS`, short enough to count and group by. Instances cross process boundaries by pickle.
    """

    def __init__(self, reason: str, path: object, problem: str, cure: str):
        if reason not in REASONS:
            raise KeyError(f"unknown reason {reason!r} of a VideoError; allowed: {', '.join(sorted(REASONS))}")
        self.reason, self.path, self.problem, self.cure = reason, str(path), problem, cure
        super().__init__(reason, self.path, problem, cure)

    def __str__(self) -> str:
        return f"{self.path}: {self.problem} [{self.reason}]; {self.cure}"


def bad_spec(problem: str, cure: str) -> VideoError:
    return VideoError("bad_spec", "video settings", problem, cure)


def _number(name: str, value: Any, *, positive: bool = False) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad_spec(f"{name}={value!r} is not a finite number", f"give {name} as a number or leave it out")
    if positive and value <= 0:
        raise bad_spec(f"{name}={value!r} is not above 0", f"give a positive {name}")
    return float(value)


def _count(name: str, value: Any, least: int = 1) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise bad_spec(f"{name}={value!r} is not an integer of at least {least}", f"give {name} >= {least}")
    return value


class _Canonical:
    """Equal values give equal JSON: sorted keys, no blanks, floats in their shortest exact form."""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def canonical_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Sampling(_Canonical):
    """Which frames of a source are taken. Exactly one of `fps`, `frames`, `timestamps`, `all_frames` is given.

    Times are seconds on the video's own clock: 0 is its first frame, whatever the container's first timestamp.

    fps          frames per second; the count lies in [min_frames, max_frames] and is a multiple of `frame_factor`
    frames       a count, rounded to a multiple of `frame_factor`
    timestamps   seconds; each gives the frame on screen at that time, in the order given
    all_frames   every frame of the clip; the last one is repeated up to a multiple of `frame_factor`
    min_frames   of `fps` only; None is 4
    max_frames   of `fps` only; None is 768 or the frames of the clip, whichever is less
    frame_factor frames of one temporal patch of the policy (Qwen-VL: 2)
    start, end   the clip in seconds; None is the video's own start or end
    rounding     "qwen": indices are spread evenly over the clip's frame numbers, and the clip's ends follow from the
                 average frame rate, as in qwen-vl-utils. "time": both follow the true timestamps, which differs where
                 the frame rate varies
    """

    fps: float | None = None
    frames: int | None = None
    timestamps: tuple[float, ...] | None = None
    all_frames: bool = False
    min_frames: int | None = None
    max_frames: int | None = None
    frame_factor: int = 2
    start: float | None = None
    end: float | None = None
    rounding: Literal["qwen", "time"] = "qwen"

    def __post_init__(self):
        ways = [n for n in ("fps", "frames", "timestamps") if getattr(self, n) is not None]
        ways += ["all_frames"] if self.all_frames else []
        if len(ways) != 1:
            listing = " and ".join(ways) or "none"
            raise bad_spec(f"{listing} of fps, frames, timestamps, all_frames given", "give exactly one of them")
        put = object.__setattr__
        put(self, "fps", _number("fps", self.fps, positive=True))
        put(self, "start", _number("start", self.start))
        put(self, "end", _number("end", self.end))
        if self.timestamps is not None:
            times = self.timestamps.tolist() if hasattr(self.timestamps, "tolist") else self.timestamps
            put(self, "timestamps", tuple(_number("timestamps", t) for t in times))
            if not self.timestamps:
                raise bad_spec("timestamps is empty", "name at least one time in seconds")
        for name in ("frames", "min_frames", "max_frames", "frame_factor"):
            _count(name, getattr(self, name))
        if self.fps is None and (self.min_frames is not None or self.max_frames is not None):
            raise bad_spec(f"min_frames and max_frames bound fps, not {ways[0]}", "leave them out or sample by fps")
        if self.min_frames and self.max_frames and self.min_frames > self.max_frames:
            raise bad_spec(f"min_frames={self.min_frames} > max_frames={self.max_frames}", "swap or change them")
        if self.timestamps is not None and (self.start is not None or self.end is not None):
            raise bad_spec("start and end given beside timestamps", "timestamps alone name the frames")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise bad_spec(f"start={self.start} is not before end={self.end}", "swap or change them")
        if self.rounding not in ("qwen", "time"):
            raise bad_spec(f"rounding={self.rounding!r}", "allowed: qwen, time")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Sampling":
        return cls(**data)


@dataclass(frozen=True)
class Budget(_Canonical):
    """How large the frames of one video, or one image, may be.

    factor        patch size times merge size of the policy, in pixels (28 in Qwen2-VL and Qwen2.5-VL, 32 in Qwen3-VL)
    min_pixels    per frame; None is 128 * factor^2 in a video and 4 * factor^2 in an image, and never above max_pixels
    max_pixels    per frame; None is 768 * factor^2 in a video and 16384 * factor^2 in an image
    total_pixels  per video, counted over temporal patches; None is 0.9 * 128000 * factor^2
    max_frames    per video; sampling by fps, count or all_frames takes fewer frames, explicit timestamps are refused
    """

    factor: int
    min_pixels: int | None = None
    max_pixels: int | None = None
    total_pixels: int | None = None
    max_frames: int | None = None

    def __post_init__(self):
        if self.factor is None:
            raise bad_spec("factor=None", "give the policy's patch size times its merge size")
        for name in ("factor", "min_pixels", "max_pixels", "total_pixels", "max_frames"):
            _count(name, getattr(self, name))
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise bad_spec(f"min_pixels={self.min_pixels} > max_pixels={self.max_pixels}", "swap or change them")
        token = self.factor**2
        if self.max_pixels and self.max_pixels < token:
            problem = f"max_pixels={self.max_pixels} is less than a visual token of {self.factor}x{self.factor} pixels"
            raise bad_spec(problem, f"give max_pixels >= {token}")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Budget":
        return cls(**data)


@dataclass(frozen=True)
class VideoSpec(_Canonical):
    """All that decides which pixels come out of a video, a folder of frames or a list of images.

    budget      None keeps the source's own size
    backend     a name of `video.backends.BACKENDS`, or "auto"
    truncated   a video whose announced frames do not all decode undamaged: "refuse" raises, "keep" uses those that do
    stream      index of the video stream; None is the one that FFmpeg calls best
    source_fps  frames per second of a folder or a list; a video file has its own
    """

    sampling: Sampling
    budget: Budget | None
    backend: str = "auto"
    truncated: Literal["refuse", "keep"] = "refuse"
    stream: int | None = None
    source_fps: float = 2.0
    kind: Literal["video"] = field(default="video", init=False)

    def __post_init__(self):
        _count("stream", self.stream, least=0)
        object.__setattr__(self, "source_fps", _number("source_fps", self.source_fps, positive=True))
        if self.truncated not in ("refuse", "keep"):
            raise bad_spec(f"truncated={self.truncated!r}", "allowed: refuse, keep")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "VideoSpec":
        data = {k: v for k, v in data.items() if k != "kind"}
        budget = data.pop("budget")
        return cls(
            sampling=Sampling.from_dict(data.pop("sampling")),
            budget=None if budget is None else Budget.from_dict(budget),
            **data,
        )


@dataclass(frozen=True)
class ImageSpec(_Canonical):
    """All that decides which pixels come out of one image file; budget None keeps its own size."""

    budget: Budget | None
    kind: Literal["image"] = field(default="image", init=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ImageSpec":
        return cls(budget=None if data["budget"] is None else Budget.from_dict(data["budget"]))


Spec = VideoSpec | ImageSpec


def spec_from_dict(data: dict[str, Any]) -> Spec:
    """The spec that `to_dict` or `canonical_json` wrote."""
    return {"video": VideoSpec, "image": ImageSpec}[data["kind"]].from_dict(data)


@dataclass(frozen=True)
class VideoMetadata(_Canonical):
    """What a source is, and which of its frames were taken. Pixels count as square, as in qwen-vl-utils.

    fps           average frames per second of the container (of a folder or a list: `source_fps`)
    total_frames  frames of the whole source, not of the clip
    duration      seconds from the first frame to the end of the last
    width, height pixels as shown: after rotation, before resizing
    rotation      clockwise degrees that were applied: 0, 90, 180 or 270
    codec         FFmpeg's name of the codec; "images" for folders, lists and images
    backend       the backend that decoded: never "auto"; "images" for folders, lists and images
    start_time    container time of the first frame in seconds; container time = timestamp + start_time
    stream        index of the video stream in its container
    indices       frame numbers taken, counted from 0 in the order of presentation; () from `probe`
    sampled_fps   frames taken per second of the clip, as in qwen-vl-utils; None from `probe`, and where the frames
                  were named by timestamps
    """

    fps: float
    total_frames: int
    duration: float
    width: int
    height: int
    rotation: int
    codec: str
    backend: str
    start_time: float = 0.0
    stream: int = 0
    indices: tuple[int, ...] = ()
    sampled_fps: float | None = None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "VideoMetadata":
        return cls(**{**data, "indices": tuple(data["indices"])})


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one video (T >= 1) or one image (T = 1).

    pixels      uint8 [T, C=3, H, W], RGB
    timestamps  float64 [T], seconds on the video's own clock (0 is its first frame)
    """

    pixels: "torch.Tensor"
    timestamps: "torch.Tensor"
    metadata: VideoMetadata

    def __post_init__(self):
        import torch

        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4 or self.pixels.shape[1] != 3:
            raise TypeError(f"pixels must be uint8 [T, 3, H, W], got {self.pixels.dtype} {tuple(self.pixels.shape)}")
        if self.timestamps.dtype != torch.float64 or self.timestamps.shape != self.pixels.shape[:1]:
            raise TypeError(
                f"timestamps must be float64 [{len(self.pixels)}], "
                f"got {self.timestamps.dtype} {tuple(self.timestamps.shape)}"
            )

    def __len__(self) -> int:
        return len(self.pixels)


Source = str | Sequence[Any]
