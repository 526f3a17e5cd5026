"""The whole recipe as typed models: YAML in, dotted overrides, JSON schema out.

Nothing here imports torch: a recipe is read and refused before anything heavy loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from mmrl.objectives.settings import Settings

DIGIT_TASKS = ("classification", "ocr", "grounding", "counting", "multiple_choice")
PRETRAINING_TASKS = ("caption", "skill")
VIDEO_TASKS = ("multiple_choice", "counting", "ordering", "temporal_grounding", "tracking")


class Lora(Settings):
    """LoRA adapters (peft) on the language model's linear layers; the reference policy is the base."""

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: list[str] | Literal["all-linear"] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ]
    vision: bool = Field(False, description="also adapt every linear layer of the vision tower")


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


class ValueHeadConfig(Settings):
    """A critic on the policy's own hidden state; PPO needs one."""

    width: PositiveInt = Field(256, description="units of its hidden layer")
    outputs: PositiveInt = Field(1, description="values a decision: 1, or rollout.action_chunk for one an action")
    detach: bool = Field(False, description="the value loss does not reach the policy's own weights")


class PolicyConfig(Settings):
    """The model and how it is trained."""

    type: str = Field("qwen_vl", description="adapter: a name in mmrl.policies.registry")
    path: str = Field(description="folder or hub name of a checkpoint; `quickstart` is the one that ships with mmrl")
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = Field("auto", description="auto, cpu, cuda or cuda:n")
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    packing: Literal["group", "row"] = Field(
        "group", description="group: a prompt and all answers to it share one forward row; row: one row an answer"
    )
    lora: Lora | None = None
    params: dict[str, Any] = Field({}, description="settings that this type of policy alone has")
    freeze: list[Literal["vision", "language", "backbone"]] = []
    value_head: ValueHeadConfig | None = None
    gradient_checkpointing: bool = False
    image: PixelBudget = PixelBudget()
    video: VideoBudget = VideoBudget()
    max_prompt_tokens: PositiveInt | None = Field(None, description="longer prompts are bad samples, never cut")
    action_bins: PositiveInt | None = Field(None, description="bins of each action dimension, for episodes")

    @model_validator(mode="after")
    def _compatible(self) -> PolicyConfig:
        if self.attention == "flash_attention_2" and self.packing == "group":
            raise ValueError("attention 'flash_attention_2' cannot mask shared prompts; set policy.packing to 'row'")
        if {"vision", "language"} <= set(self.freeze):
            raise ValueError("freeze: [vision, language] leaves nothing to train")
        if self.freeze and self.lora is not None:
            raise ValueError("freeze has no effect beside lora: only adapters train, and lora.vision says where")
        return self


class DatasetConfig(Settings):
    """What every dataset has: a name, a sampling weight and a cap."""

    name: str | None = None
    weight: PositiveFloat = 1.0
    use: Literal["all", "rollouts", "demonstrations"] = Field("all", description="what training draws from it")
    limit: PositiveInt | None = Field(None, description="use the first n rows only")
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


class RewardConfig(Settings):
    """One part of the reward: a name in vision_rewards, or the user's `module:function`."""

    name: str = "route"
    weight: PositiveFloat = 1.0
    params: dict[str, Any] = {}


class SamplingConfig(Settings):
    """How completions are sampled."""

    temperature: float = Field(1.0, ge=0.0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    top_k: int = Field(0, ge=0, description="0 keeps every token")
    min_p: float = Field(0.0, ge=0.0, lt=1.0)
    max_new_tokens: PositiveInt = 64
    stop: list[str] = Field([], description="text that ends a completion, besides the end-of-turn token")


class RolloutConfig(SamplingConfig):
    """Engine and group size."""

    engine: str = Field("hf", description="a name in mmrl.rollouts.engines")
    n: PositiveInt = Field(8, description="trajectories a group")
    batch_size: PositiveInt = Field(256, description="sequences decoded at once")
    action_chunk: PositiveInt = Field(1, description="actions a decision, for episodes")


class OptimConfig(Settings):
    """AdamW, its schedule and clipping."""

    lr: PositiveFloat = 1e-5
    lr_vision: PositiveFloat | None = Field(None, description="vision tower; default lr")
    lr_value: PositiveFloat | None = Field(None, description="value head; default lr")
    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: float = Field(0.0, ge=0.0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = Field(0, ge=0, description="optimizer steps")
    min_ratio: float = Field(0.0, ge=0.0, le=1.0, description="final lr / peak lr")
    clip_norm: PositiveFloat | None = 1.0


class StageConfig(Settings):
    """One stage of training. Unset fields take the recipe's."""

    name: str
    method: str
    steps: PositiveInt
    prompts: PositiveInt = Field(16, description="prompts rolled out a step")
    demonstrations: PositiveInt = Field(16, description="demonstrations a step, where the method draws them")
    minibatches: PositiveInt = Field(1, description="optimizer steps a pass over a rollout batch")
    epochs: PositiveInt = Field(1, description="passes over a rollout batch")
    objective: dict[str, Any] = Field({}, description="overrides of the method's objective")
    optim: OptimConfig = OptimConfig()
    rollout: RolloutConfig = RolloutConfig()


class GreedyConfig(SamplingConfig):
    """Sampling settings whose default is greedy."""

    temperature: float = Field(0.0, ge=0.0, description="0 is greedy")


class EvalConfig(Settings):
    """Held-out evaluation: greedy unless said otherwise."""

    every: PositiveInt | None = Field(None, description="steps between evaluations; None: only between stages")
    limit: PositiveInt | None = Field(None, description="rows a dataset")
    sampling: GreedyConfig = GreedyConfig()
    batch_size: PositiveInt = 256


class CheckpointConfig(Settings):
    """Checkpoints appear whole or not at all."""

    every: PositiveInt | None = Field(None, description="steps; None: only at the end of a stage and when interrupted")
    keep: PositiveInt = Field(2, description="newest checkpoints kept besides the best")
    best: str | None = Field("mean", description="evaluation figure whose best checkpoint is kept: mean or a task")


class TrackingConfig(Settings):
    """Where figures go besides metrics.jsonl."""

    console: Literal["auto", "live", "plain", "none"] = "auto"
    tensorboard: bool = True
    wandb: bool = False
    trackio: bool = False
    project: str = "mmrl"
    rollouts_every: PositiveInt = Field(1, description="steps between entries of rollouts/")
    rollouts_groups: int = Field(2, ge=0, description="groups written each time")


class Recipe(Settings):
    """A whole run."""

    name: str
    seed: int = 0
    output: str = Field("runs", description="folder in which the run's folder is made")
    resume: Literal["auto", "never"] | str = Field("never", description="auto, never, or a checkpoint folder")
    threads: PositiveInt | None = Field(None, description="CPU threads; None: torch's own choice")
    micro_tokens: PositiveInt = Field(8192, description="tokens a micro-batch, prompts and padding included")
    policy: PolicyConfig
    data: DataConfig
    simulators: dict[str, dict[str, Any]] = {}
    rewards: list[RewardConfig] = Field([RewardConfig()], min_length=1)
    stages: list[StageConfig] = Field(min_length=1)
    evaluation: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        from mmrl.errors import unknown
        from mmrl.policies.registry import BINNED

        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages: names must differ, got {names}")
        for stage in self.stages:
            _check_stage(stage, several=len(self.stages) > 1)
            self._check_critic(stage)
            self._check_episodes(stage)
        for data in (*self.data.train, *self.data.eval):
            if isinstance(data, EpisodeData):
                if data.simulator not in self.simulators:
                    raise ValueError(unknown("simulator", data.simulator, self.simulators))
                if self.policy.action_bins is None and self.policy.type in BINNED:
                    raise ValueError("policy.action_bins is unset, and data of type 'episodes' needs it; 33 is a start")
        return self

    def _check_critic(self, stage: StageConfig) -> None:
        """The value head and the chunks of actions fit the objective."""
        from mmrl.objectives.methods import resolve_objective

        if resolve_objective(stage.method, stage.objective).value is None:
            return
        head, where = self.policy.value_head, f"stages.{stage.name}"
        if head is None:
            raise ValueError(f"{where}: method '{stage.method}' trains a critic; set policy.value_head: {{}}")
        if head.outputs not in (1, stage.rollout.action_chunk):
            raise ValueError(
                f"{where}: policy.value_head.outputs {head.outputs} is neither 1 nor rollout.action_chunk "
                f"{stage.rollout.action_chunk}"
            )

    def _check_episodes(self, stage: StageConfig) -> None:
        """Episodes have no token limit of their own."""
        from mmrl.objectives.methods import resolve_objective

        if not any(isinstance(data, EpisodeData) for data in self.data.train):
            return
        objective, where = resolve_objective(stage.method, stage.objective), f"stages.{stage.name}"
        if objective.relabel is not None and stage.rollout.action_chunk != 1:
            raise ValueError(
                f"{where}: relabelling asks the expert in every state, so rollout.action_chunk must be 1, not "
                f"{stage.rollout.action_chunk}"
            )
        if objective.overlong is not None:
            raise ValueError(f"{where}: objective.overlong limits answers, not episodes; set it to null")
        rl = objective.streams.get("rl")
        if rl is not None and rl.normalise == "constant" and rl.max_units is None:
            raise ValueError(
                f"{where}: objective.streams.rl.max_units is needed for episodes: steps x action_dim of the longest one"
            )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.output) / self.name


def _check_stage(stage: StageConfig, several: bool) -> None:
    """Raises ValueError or ConfigError on settings of one stage that cannot work together."""
    from mmrl.errors import ConfigError
    from mmrl.objectives.methods import resolve_objective

    rollout, where = stage.rollout, f"stages.{stage.name}"
    try:
        objective = resolve_objective(stage.method, stage.objective)
    except ConfigError as error:
        prefix = f"{where}: " if several else ""
        raise ConfigError("\n".join(f"{prefix}{line}" for line in str(error).splitlines())) from None
    drawn = stage.prompts if objective.rollouts else stage.demonstrations
    if stage.minibatches > drawn:
        key = "prompts" if objective.rollouts else "demonstrations"
        raise ValueError(f"{where}: minibatches {stage.minibatches} exceeds {key} {drawn}")
    if not objective.rollouts:
        return
    if rollout.n < 2 and objective.advantage.baseline in ("group_mean", "leave_one_out"):
        raise ValueError(f"{where}: rollout.n is 1, so every group-relative advantage is 0; set n to 2 or more")
    if rollout.temperature == 0.0:
        raise ValueError(f"{where}: rollout.temperature 0 samples one answer n times; set it above 0")
    if objective.overlong is not None and objective.overlong.cache >= rollout.max_new_tokens:
        raise ValueError(
            f"{where}: objective.overlong.cache {objective.overlong.cache} must be below rollout.max_new_tokens "
            f"{rollout.max_new_tokens}; a fifth of it is usual"
        )


def load_recipe(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe from a YAML file or a mapping, applies `a.b=c` overrides and checks all of it.

    Raises:
        ConfigError: one line naming the key, its value, what is allowed and the nearest valid spelling.
    """
    from mmrl.reading import apply_overrides, expand, read_yaml, validate

    raw = dict(source) if isinstance(source, Mapping) else read_yaml(Path(source))
    written = apply_overrides(raw, overrides)
    return validate(Recipe, expand(written), written=written)
