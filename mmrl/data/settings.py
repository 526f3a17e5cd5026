"""The settings of data: pixel and frame budgets, datasets, mixtures and the cache of decoded videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from mmrl.objectives.settings import Settings

DIGIT_TASKS = ("classification", "ocr", "grounding", "counting", "multiple_choice")
PRETRAINING_TASKS = ("caption", "skill")
VIDEO_TASKS = ("multiple_choice", "counting", "ordering", "temporal_grounding", "tracking")


class PixelBudget(Settings):
    """Pixels per image after resizing; None keeps the checkpoint's own setting."""

    min_pixels: PositiveInt | None = None
    max_pixels: PositiveInt | None = None

    @model_validator(mode="after")
    def _ordered(self) -> PixelBudget:
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        return self


class VideoBudget(Settings):
    """Which frames of a video are read, and how large. Unset bounds are qwen-vl-utils' own."""

    fps: PositiveFloat = Field(2.0, description="frames a second, between min_frames and max_frames")
    frames: PositiveInt | None = Field(None, description="a fixed number instead of fps")
    min_frames: PositiveInt | None = None
    max_frames: PositiveInt | None = None
    min_pixels: PositiveInt | None = Field(None, description="pixels a frame")
    max_pixels: PositiveInt | None = Field(None, description="pixels a frame")
    total_pixels: PositiveInt | None = Field(None, description="pixels a video, counted over temporal patches")
    rounding: Literal["qwen", "time"] = Field("qwen", description="time: by true timestamps, for varying frame rates")
    backend: str = Field("auto", description="auto, or a name of video.backends")
    truncated: Literal["refuse", "keep"] = Field("refuse", description="keep: use the frames of a cut file that decode")
    shuffle: bool = Field(False, description="frames in an order drawn by sample id: the control for the use of time")
    drop: float = Field(0.0, ge=0.0, lt=1.0, description="share of frames left out, drawn by sample id")

    @model_validator(mode="after")
    def _ordered(self) -> VideoBudget:
        for low, high in (("min_pixels", "max_pixels"), ("min_frames", "max_frames")):
            if getattr(self, low) and getattr(self, high) and getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} {getattr(self, low)} is above {high} {getattr(self, high)}")
        if self.frames and {"fps", "min_frames", "max_frames"} & self.model_fields_set:
            raise ValueError("frames fixes the number of frames; leave fps, min_frames and max_frames out beside it")
        return self

    def merged(self, overrides: Mapping[str, Any]) -> VideoBudget:
        """A copy in which the fields that `overrides` sets replace these."""
        mine = self.model_dump(exclude_unset=True)
        if overrides.get("frames") is not None:
            mine = {k: v for k, v in mine.items() if k not in ("fps", "min_frames", "max_frames")}
        if {"fps", "min_frames", "max_frames"} & set(overrides):
            mine.pop("frames", None)
        return VideoBudget(**{**mine, **overrides})


class CacheConfig(Settings):
    """Decoded videos kept on disk, filled on first use or by `mmrl cache build`."""

    folder: str
    max_gb: PositiveFloat | None = Field(None, description="least recently used entries go beyond it; None: no limit")
    compression: str = Field("none", description="a name of video.codecs")
    fingerprint: Literal["fast", "full"] = Field("fast", description="full hashes every byte of a source file")


class DatasetConfig(Settings):
    """What every dataset has: a name, a sampling weight and a cap."""

    name: str | None = None
    weight: PositiveFloat = 1.0
    use: Literal["all", "rollouts", "demonstrations"] = Field("all", description="what training draws from it")
    limit: PositiveInt | None = Field(None, description="use the first n rows only")
    control: bool = Field(False, description="held out beside the others: figures of its own, left out of the mean")
    image: PixelBudget | None = Field(None, description="overrides policy.image for these rows, field by field")
    video: VideoBudget | None = Field(None, description="overrides policy.video for these rows, field by field")

    @property
    def budgets(self) -> dict[str, dict[str, Any]]:
        """The fields that the dataset's own budgets set."""
        given = {"image": self.image, "video": self.video}
        return {kind: budget.model_dump(exclude_unset=True) for kind, budget in given.items() if budget is not None}


class DigitsData(DatasetConfig):
    """Visual tasks composed from scikit-learn's real digit scans."""

    type: Literal["digits"]
    split: Literal["train", "test"] = "train"
    tasks: list[str] = list(DIGIT_TASKS)
    size: PositiveInt = 4096
    seed: int = 0
    think: bool = Field(False, description="demonstrations carry a short <think> trace")

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[str]) -> list[str]:
        from mmrl.errors import unknown

        for task in tasks:
            if task not in (*DIGIT_TASKS, *PRETRAINING_TASKS):
                raise ValueError(unknown("digits task", task, (*DIGIT_TASKS, *PRETRAINING_TASKS)))
        return tasks


class VideoDigitsData(DatasetConfig):
    """Video tasks composed from the same scans, rendered to real files."""

    type: Literal["video_digits"]
    split: Literal["train", "test"] = "train"
    tasks: list[str] = list(VIDEO_TASKS)
    size: PositiveInt = 1024
    seed: int = 0
    think: bool = Field(False, description="demonstrations carry a short <think> trace")
    slots: int = Field(4, ge=2, le=3600, description="seconds of each video")
    canvas: int = Field(56, ge=56, multiple_of=28, description="side in pixels")
    folder: str | None = Field(
        None, description="where files are rendered; default: mmrl/video_digits in the user's cache"
    )

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[str]) -> list[str]:
        from mmrl.errors import unknown

        for task in tasks:
            if task not in VIDEO_TASKS:
                raise ValueError(unknown("video_digits task", task, VIDEO_TASKS))
        return tasks


class FileData(DatasetConfig):
    """jsonl, json or parquet files, a folder of them, or a `datasets` name or folder."""

    type: Literal["file"]
    path: str
    format: Literal["auto", "mmrl", "easyr1", "easyvideor1", "vlm_r1"] = "auto"
    split: str = Field("train", description="split of a `datasets` name or folder")
    root: str | None = Field(None, description="folder of the media paths; default: the folder of the file")
    task: str | None = Field(None, description="task of rows that do not name one")
    coordinates: Literal["pixel", "norm1000", "norm1"] = Field("pixel", description="how boxes in targets are written")


class PythonData(DatasetConfig):
    """A user's dataset: `module:function` returning a sequence of `Sample`."""

    type: Literal["python"]
    function: str
    params: dict[str, Any] = {}


class EpisodeData(DatasetConfig):
    """Start states of a simulator: ids first .. first + size - 1."""

    type: Literal["episodes"]
    simulator: str = Field(description="a key of the recipe's `simulators`")
    first: int = Field(0, ge=0)
    size: PositiveInt = 1024


AnyData = Annotated[DigitsData | VideoDigitsData | FileData | PythonData | EpisodeData, Field(discriminator="type")]


class DataConfig(Settings):
    """Training mixture and held-out sets."""

    train: list[AnyData] = Field(min_length=1)
    eval: list[AnyData] = []
    on_bad_sample: Literal["stop", "skip"] = Field("stop", description="skip counts bad samples and goes on")
    seed: int | None = Field(None, description="sampling order; default: the recipe's seed")
    cache: CacheConfig | None = None
    prefetch: int = Field(0, ge=0, description="upcoming samples whose videos are read ahead, off the training thread")

    def named_eval(self) -> dict[str, AnyData]:
        """Held-out sets by the names that their figures carry."""
        sets: dict[str, AnyData] = {}
        for config in self.eval:
            name = config.name or config.type
            while name in sets:
                name += "+"
            sets[name] = config
        return sets

    @property
    def controls(self) -> set[str]:
        """Names of the held-out sets that stay out of the mean."""
        return {name for name, config in self.named_eval().items() if config.control}
