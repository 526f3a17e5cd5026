"""The settings of pixel and frame budgets: of a policy, and of a dataset over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from mmrl.recipe.base import Settings

# Lower and upper bounds.
IMAGE_BOUNDS = (("min_pixels", "max_pixels"), ("min_pixels", "total_pixels"))
VIDEO_BOUNDS = (("min_pixels", "max_pixels"), ("min_frames", "max_frames"))
# What says which frames of a video are read: a rate within bounds, or one of the others.
BY_RATE = ("fps", "min_frames", "max_frames")
BY_NAME = ("frames", "timestamps", "all_frames")
Timestamps = Annotated[list[float], Field(min_length=1)]


class PixelBudget(Settings):
    """Pixels per image after resizing; None keeps the checkpoint's own setting."""

    min_pixels: PositiveInt | None = None
    max_pixels: PositiveInt | None = None
    total_pixels: PositiveInt | None = Field(
        None, description="pixels of all images of a sample: lowers max_pixels, though not below 1.05 x min_pixels"
    )

    @model_validator(mode="after")
    def _ordered(self) -> PixelBudget:
        _check_order(self, IMAGE_BOUNDS)
        return self

    def merged(self, overrides: Mapping[str, Any]) -> PixelBudget:
        """A copy in which what `overrides` sets replaces these. Raises ValueError in one line."""
        return _in_one_line(PixelBudget, self.model_dump() | dict(overrides))


class VideoOverrides(Settings):
    """A dataset's own settings over `policy.video`; what is null follows the policy."""

    fps: PositiveFloat | None = None
    frames: PositiveInt | None = None
    timestamps: Timestamps | None = None
    all_frames: bool | None = None
    min_frames: PositiveInt | None = None
    max_frames: PositiveInt | None = None
    min_pixels: PositiveInt | None = None
    max_pixels: PositiveInt | None = None
    total_pixels: PositiveInt | None = None
    rounding: Literal["qwen", "time"] | None = None
    clock: Literal["clip", "file"] | None = None
    source_fps: PositiveFloat | None = None
    stream: int | None = Field(None, ge=0)
    backend: str | None = None
    truncated: Literal["refuse", "keep"] | None = None
    shuffle: bool | None = None
    drop: float | None = Field(None, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _ordered(self) -> VideoOverrides:
        _check_order(self, VIDEO_BOUNDS)
        return self


class VideoBudget(Settings):
    """Which frames of a video are read, and how large. Unset bounds are qwen-vl-utils' own."""

    fps: PositiveFloat = Field(2.0, description="frames per second, between min_frames and max_frames")
    frames: PositiveInt | None = Field(None, description="a fixed number instead of fps")
    timestamps: Timestamps | None = Field(None, description="seconds of the frames read, instead of fps")
    all_frames: bool | None = Field(
        None,
        description="every frame, up to max_frames; null: of folders and lists of images, unless frames or timestamps "
        "say which; false: of nothing",
    )
    min_frames: PositiveInt | None = None
    max_frames: PositiveInt | None = None
    min_pixels: PositiveInt | None = Field(None, description="pixels per frame")
    max_pixels: PositiveInt | None = Field(None, description="pixels per frame")
    total_pixels: PositiveInt | None = Field(None, description="pixels per video, counted over temporal patches")
    rounding: Literal["qwen", "time"] = Field("qwen", description="time: by true timestamps, for varying frame rates")
    clock: Literal["clip", "file"] = Field(
        "clip", description="what 0 seconds are in targets and answers: the start of a row's clip, or of its file"
    )
    source_fps: PositiveFloat = Field(2.0, description="frames per second that folders and lists of images hold")
    stream: int | None = Field(None, ge=0, description="of files with several videos; null: the best, as FFmpeg has it")
    backend: str = Field("auto", description="auto, or a name of video.backends")
    truncated: Literal["refuse", "keep"] = Field("refuse", description="keep: use the frames of a cut file that decode")
    shuffle: bool = Field(False, description="frames in an order drawn by sample: the control for the use of time")
    drop: float = Field(0.0, ge=0.0, lt=1.0, description="share of frames left out, others in each epoch of training")

    @model_validator(mode="after")
    def _ordered(self) -> VideoBudget:
        _check_order(self, VIDEO_BOUNDS)
        fixing = [name for name in BY_NAME if getattr(self, name)]
        if len(fixing) > 1:
            raise ValueError(f"{' and '.join(fixing)} each say which frames are read; leave all but one of them out")
        # Compared by value, not by what was set: a resolved recipe carries every default.
        beside = [name for name in BY_RATE if getattr(self, name) != _default(name)]
        if fixing == ["all_frames"]:
            beside = [name for name in beside if name != "max_frames"]
        if fixing and beside:
            what = "fixes the number of frames" if fixing == ["frames"] else "says which frames are read"
            bounds = "fps and min_frames" if fixing == ["all_frames"] else "fps, min_frames and max_frames"
            raise ValueError(f"{fixing[0]} {what}; leave {bounds} out beside it")
        return self

    def merged(self, overrides: Mapping[str, Any]) -> VideoBudget:
        """A copy in which what `overrides` sets replaces these; what says which frames are read replaces each other.

        Raises:
            ValueError: in one line, an override that is unknown or out of range, or that contradicts what it is merged
                with.
        """
        names = {name for name in BY_NAME if overrides.get(name)}
        rate = set(BY_RATE) & set(overrides)
        replaced = set(BY_NAME) if names or rate else set()
        if self.all_frames and rate == {"max_frames"}:
            replaced.discard("all_frames")
        replaced |= set(BY_RATE) if names - {"all_frames"} else {"fps", "min_frames"} if names else set()
        mine = self.model_dump() | {name: _default(name) for name in replaced}
        return _in_one_line(VideoBudget, mine | dict(overrides))


Budget = TypeVar("Budget", PixelBudget, VideoBudget)


def _default(name: str) -> Any:
    return VideoBudget.model_fields[name].default


def _check_order(budget: Settings, bounds: Iterable[tuple[str, str]]) -> None:
    for low, high in bounds:
        least, most = getattr(budget, low), getattr(budget, high)
        if least and most and least > most:
            raise ValueError(f"{low} {least} is above {high} {most}")


def _in_one_line(model: type[Budget], values: Mapping[str, Any]) -> Budget:
    try:
        return model(**values)
    except ValidationError as error:
        parts = [(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]
        said = [f"{key}: {text}" if key else text for key, text in parts]
        raise ValueError("; ".join(said).replace("Value error, ", "")) from None
