"""The settings of data: datasets, mixtures and the cache of decoded videos."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from mmrl.recipe.base import Settings
from mmrl.recipe.budgets import PixelBudget, VideoOverrides
from mmrl.recipe.formats import ACTIONS, AUTO, check_columns, check_format
from mmrl.recipe.prompt_templates import template_text
from mmrl.recipe.samplers import SamplerSettings, WeightedSettings, sampler_settings

DIGIT_TASKS = ("classification", "ocr", "grounding", "counting", "multiple_choice")
PRETRAINING_TASKS = ("caption", "skill")
# The last dimension of an action: -1 open to 1 closed, 1 open to -1 closed, 0 closed to 1 open, 0 open to 1 closed.
Gripper = Literal["close_positive", "open_positive", "open_fraction", "close_fraction"]
VIDEO_TASKS = ("multiple_choice", "counting", "ordering", "temporal_grounding", "tracking")
MORE_VIDEO_TASKS = ("classification", "spatial_temporal_grounding", "numeric", "open_ended")


class CacheConfig(Settings):
    """Decoded videos kept on disk, filled on first use or by `mmrl cache build`."""

    folder: str
    max_gb: PositiveFloat | None = Field(None, description="least recently used entries go beyond it; None: no limit")
    compression: str = Field("none", description="a name of video.codecs")
    fingerprint: Literal["fast", "full"] = Field("fast", description="full hashes every byte of a source file")
    image_pixels: PositiveInt = Field(2**20, description="pictures of at least as many pixels are kept as well")


Given = Literal["answers", "episodes", "actions"] | None


class DatasetConfig(Settings):
    """What every dataset has: a name, a sampling weight and a cap."""

    # What rows of the type give, where that is the same for all of them.
    holds: ClassVar[Given] = "answers"

    name: str | None = None
    weight: PositiveFloat = 1.0
    use: Literal["all", "rollouts", "demonstrations"] = Field("all", description="what training draws from it")
    limit: PositiveInt | None = Field(None, description="use the first n rows only")
    control: bool = Field(False, description="held out beside the others: figures of its own, left out of the mean")
    image: PixelBudget | None = Field(None, description="overrides policy.image for these rows, field by field")
    video: VideoOverrides | None = Field(None, description="overrides policy.video for these rows, field by field")

    @property
    def gives(self) -> Given:
        """What a policy does with its rows; None where that is not known."""
        return self.holds

    @property
    def budgets(self) -> dict[str, dict[str, Any]]:
        """What the dataset's own budgets set."""
        own_budgets = {"image": self.image, "video": self.video}
        return {
            kind: budget.model_dump(exclude_none=True) for kind, budget in own_budgets.items() if budget is not None
        }


class DigitsData(DatasetConfig):
    """Visual tasks composed from real digit scans."""

    type: Literal["digits"]
    split: Literal["train", "test"] = "train"
    tasks: list[str] = list(DIGIT_TASKS)
    size: PositiveInt = 4096
    seed: int = 0
    think: bool = Field(False, description="demonstrations carry a short <think> trace")

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: list[str]) -> list[str]:
        from mmrl.contracts.errors import unknown

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
        from mmrl.contracts.errors import unknown

        for task in tasks:
            if task not in (*VIDEO_TASKS, *MORE_VIDEO_TASKS):
                raise ValueError(unknown("video_digits task", task, (*VIDEO_TASKS, *MORE_VIDEO_TASKS)))
        return tasks


class FileData(DatasetConfig):
    """jsonl, json or parquet files, a folder of them, or a `datasets` name or folder."""

    type: Literal["file"]
    path: str
    format: Annotated[str, AfterValidator(check_format)] = Field(
        AUTO, description="auto, a name of `mmrl list format`, or module:name"
    )
    split: str = Field("train", description="split of a `datasets` name or folder, or of a folder of files")
    subset: str | None = Field(
        None, description="configuration of a `datasets` name, or entry of LLaMA-Factory's dataset_info.json"
    )
    columns: dict[str, str | list[str]] = Field(
        {},
        description="column of the format (by default mmrl's) -> the file's own name of it; `a.b` for b in a; several "
        "for media",
    )
    ignore: list[str] = Field([], description="columns that hold media and are left unread on purpose")
    system: str | None = Field(None, description="system prompt of rows that have none")
    prompt_template: str | None = Field(
        None,
        description="Jinja over the row's columns and `content`, the question; or a .jinja file: what is asked instead",
    )
    root: str | None = Field(None, description="folder of the media paths; default: the folder of the file")
    task: str | None = Field(None, description="task of rows that do not name one")
    coordinates: Literal["pixel", "norm1000", "norm1"] = Field("pixel", description="how boxes in targets are written")
    turns: Literal["every", "last"] = Field(
        "every", description="which answers of a conversation a demonstration teaches, but those of `loss: false`"
    )

    @model_validator(mode="after")
    def _mapped(self) -> FileData:
        check_columns(self.format, self.columns)
        return self

    @field_validator("prompt_template")
    @classmethod
    def _template(cls, written: str | None) -> str | None:
        # The text, so that a run's record needs no other file.
        return None if written is None else template_text(written)

    @property
    def gives(self) -> Given:
        """See `DatasetConfig.gives`."""
        return "actions" if self.format == ACTIONS else "answers"

    @model_validator(mode="before")
    @classmethod
    def _only_demonstrates(cls, raw: Any) -> Any:
        """Actions that were played are demonstrations alone."""
        if not isinstance(raw, Mapping) or raw.get("format") != ACTIONS:
            return raw
        if raw.get("use", "demonstrations") != "demonstrations":
            raise ValueError(f"use '{raw['use']}': rows of format '{ACTIONS}' are demonstrations; leave it out")
        return {**raw, "use": "demonstrations"}


class JigsawData(DatasetConfig):
    """Puzzles made of one's own pictures and clips, whose answers need no label (Visual Jigsaw, arXiv 2509.25190)."""

    type: Literal["jigsaw"]
    path: str = Field(description="a folder with pictures, video files or folders of frames, at any depth")
    puzzles: list[Literal["jigsaw", "rotation", "crop_location", "frame_order"]] = Field(
        ["jigsaw"], min_length=1, description="what is asked, in turn"
    )
    grid: tuple[PositiveInt, PositiveInt] = Field((2, 2), description="rows and columns of pieces, and of places")
    frames: int = Field(4, ge=2, le=20, description="frames of a clip that are to be put in order")
    side: int = Field(448, ge=28, description="pictures and frames are made smaller, to at most so many pixels a side")
    split: Literal["all", "train", "test"] = Field(
        "all", description="train and test of a puzzle share no file: a fifth of them, chosen by name, is test"
    )
    size: PositiveInt | None = Field(
        None, description="rows; default: as many as ask about every file in each of its puzzles"
    )
    seed: int = 0

    @model_validator(mode="after")
    def _pieces(self) -> JigsawData:
        pieces = self.grid[0] * self.grid[1]
        if {"jigsaw", "crop_location"} & set(self.puzzles) and not 2 <= pieces <= 20:
            raise ValueError(f"grid {list(self.grid)} makes {pieces} pieces; 2 to 20 can be asked about")
        if len(set(self.puzzles)) != len(self.puzzles):
            raise ValueError(f"puzzles {self.puzzles} has one twice")
        return self


class GeneratedData(DatasetConfig):
    """What an earlier stage of the same run has generated."""

    type: Literal["generated"]
    stage: str = Field(description="name of a stage with `generate`; in rounds, that of the same round")
    # Where the stage writes it, and whether it plays episodes; set when a recipe is read, and no part of it.
    _folder: str | None = PrivateAttr(None)
    _played: bool = PrivateAttr(False)

    @property
    def gives(self) -> Given:
        """See `DatasetConfig.gives`."""
        return "actions" if self._played else "answers"

    @property
    def folder(self) -> str | None:
        """Where the stage writes it; None where no recipe has told."""
        return self._folder

    def settle(self, folder: str, played: bool) -> GeneratedData:
        """The dataset, which knows where the stage writes it, and whether it holds the actions of episodes.

        Raises:
            ValueError: the policy is to answer, or play, what are actions.
        """
        if played and self.use == "rollouts":
            raise ValueError(
                f"use: stage '{self.stage}' plays episodes, whose actions are demonstrations; leave it out"
            )
        settled = self.model_copy(update={"use": "demonstrations"}) if played else self
        settled._folder, settled._played = folder, played
        return settled


class PythonData(DatasetConfig):
    """A user's dataset: `module:function` returning a sequence of `Sample`."""

    holds = None  # whatever the function returns
    type: Literal["python"]
    function: str
    params: dict[str, Any] = {}


class EpisodeData(DatasetConfig):
    """Start states of a simulator: ids first .. first + size - 1."""

    holds = "episodes"
    type: Literal["episodes"]
    simulator: str = Field(description="a key of the recipe's `simulators`")
    first: int = Field(0, ge=0)
    size: PositiveInt = 1024
    seen: bool = Field(False, description="in data.eval: its starts may be trained on too, as in some published tables")
    statistics: PositiveInt | None = Field(
        None,
        description="in data.train: the scripted expert's episodes, from `first` on, that the policy's normalisation "
        "statistics of this dataset are computed from; None: those of its checkpoint hold",
    )
    expert_noise: float = Field(
        0.0, ge=0.0, le=1.0, description="share of the expert's actions that a random one replaces, in demonstrations"
    )

    @model_validator(mode="after")
    def _enough(self) -> EpisodeData:
        if self.statistics is not None and self.statistics > self.size:
            raise ValueError(f"statistics {self.statistics} is more episodes than the {self.size} of size; lower it")
        return self


class RobotData(DatasetConfig):
    """Recorded episodes of a robot: a demonstration of actions at every recorded step."""

    holds = "actions"
    # The simulator that files of the type were recorded in; None: that is not known.
    recorded_in: ClassVar[str | None] = None
    use: Literal["demonstrations"] = Field(
        "demonstrations", description="no reward scores recorded actions, so they are only demonstrations"
    )
    path: str
    cameras: dict[str, str] | None = Field(
        None, description="cameras that are read, in this order: name in the file -> name for the policy"
    )
    chunk: PositiveInt = Field(
        1, description="actions per demonstration: rollout.action_chunk, or for flow policies up to their horizon"
    )
    draw: Literal["steps", "episodes"] = Field(
        "steps", description="episodes: a demonstration is a whole episode with its rewards, for offline RL"
    )
    episodes: list[int] | str | None = Field(
        None, description="which ones are read: numbers, or a range such as '0:50'"
    )
    instruction: str | None = Field(None, description="for every sample, instead of the file's own")
    rotate: bool = Field(False, description="turn the pictures by 180 degrees")
    image_size: PositiveInt | None = Field(None, description="side in pixels that pictures are resized to")
    gripper: Gripper | None = Field(None, description="how the last dimension is recorded; None: there is no gripper")
    gripper_to: Gripper | None = Field(None, description="how the simulator reads it; None: as it is recorded")
    drop_noops: bool = Field(False, description="leave steps out that neither move nor open or close (delta actions)")

    @property
    def stateless(self) -> str | None:
        """The setting by which samples come without the robot's state; None where they have it."""
        return None

    @model_validator(mode="after")
    def _sensible(self) -> RobotData:
        if isinstance(self.episodes, str) and not re.fullmatch(r"\d*:\d*", self.episodes):
            raise ValueError(
                f"episodes '{self.episodes}' is no range; write first:end, e.g. 0:50, or a list of numbers"
            )
        if self.gripper_to is not None and self.gripper is None:
            raise ValueError(
                f"gripper_to is '{self.gripper_to}' and gripper, how the file has it, is unset; set it too"
            )
        if self.cameras is not None and len(set(self.cameras.values())) < max(1, len(self.cameras)):
            raise ValueError(f"cameras must give each of at least one camera a name of its own, got {self.cameras}")
        return self


class LeRobotData(RobotData):
    """A LeRobot dataset, v3: a folder of parquet and mp4 files."""

    type: Literal["lerobot"]
    action: str = Field("action", description="the feature that holds the actions")
    state: str | None = Field("observation.state", description="the feature that holds the robot's state; None: none")
    reward: str | None = Field(
        "next.reward", description="the feature that holds the rewards; where it is absent: 1 at an episode's end"
    )
    cache: CacheConfig | None = Field(None, description="whole episodes decoded once; None decodes frame by frame")
    statistics: Literal["steps", "file"] = Field(
        "steps",
        description="steps: over all that are read; file: meta/stats.json's, whose quantiles are episodes' means",
    )

    @property
    def stateless(self) -> str | None:
        """See `RobotData.stateless`."""
        return "state: null" if self.state is None else None


class LiberoData(RobotData):
    """LIBERO's demonstrations: an HDF5 file of a task, or a folder of them."""

    recorded_in = "libero"
    type: Literal["libero_hdf5"]
    observations: Literal["auto", "before", "after"] = Field(
        "auto",
        description="whether obs[t] is what actions[t] was chosen in (before) or what it led to (after, LIBERO's own "
        "files); auto: as the file's joint positions show, refused where they do not",
    )
    rotate: bool = Field(True, description="files hold MuJoCo's upside-down pictures; policies see them turned by 180")
    gripper: Gripper = Field("close_positive", description="how the last dimension is recorded")


class ManiSkillData(RobotData):
    """ManiSkill's trajectories: an HDF5 file with a JSON file of the same name beside it."""

    recorded_in = "maniskill"
    type: Literal["maniskill_h5"]
    gripper: Gripper | None = Field("open_positive", description="as for every robot; None where the robot has none")
    control_mode: str | None = Field(None, description="the one that the simulator has; another in the file is refused")
    successful_only: bool = Field(True, description="leave out trajectories that did not end in success")
    state: bool = Field(True, description="read the robot's state")

    @property
    def stateless(self) -> str | None:
        """See `RobotData.stateless`."""
        return None if self.state else "state: false"


AnyData = Annotated[
    DigitsData
    | VideoDigitsData
    | FileData
    | JigsawData
    | GeneratedData
    | PythonData
    | EpisodeData
    | LeRobotData
    | LiberoData
    | ManiSkillData,
    Field(discriminator="type"),
]


def gives_of(dataset: Any) -> str | None:
    """`gives` of a dataset as a recipe writes it, or as it was read; None where its type is unknown."""
    if isinstance(dataset, Mapping):
        models = get_args(get_args(AnyData)[0])
        types = {get_args(model.model_fields["type"].annotation)[0]: model.holds for model in models}
        kind = dataset.get("type")
        if kind == "file" and dataset.get("format") == ACTIONS:
            return "actions"
        return types.get(kind) if isinstance(kind, str) else None
    return getattr(dataset, "gives", None)


class DataConfig(Settings):
    """Training mixture and held-out sets."""

    train: list[AnyData] = []
    eval: list[AnyData] = []
    on_bad_sample: Literal["stop", "skip"] = Field(
        "stop", description="skip goes on, and writes bad samples to bad_samples.jsonl"
    )
    seed: int | None = Field(None, description="sampling order; default: the recipe's seed")
    sampler: SerializeAsAny[SamplerSettings] = Field(WeightedSettings(), description="what draws the next rows")
    cache: CacheConfig | None = None
    prefetch: int | None = Field(
        None,
        ge=0,
        description="upcoming samples whose media are read ahead in threads; null: those of the next step, and 64 in "
        "evaluation, where samples name videos or pictures; 0: none",
    )
    prefetch_gb: PositiveFloat = Field(1.0, description="memory that frames read ahead may take until they are used")

    @field_validator("sampler", mode="before")
    @classmethod
    def _own_settings(cls, raw: Any) -> SamplerSettings:
        return sampler_settings(raw)

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
