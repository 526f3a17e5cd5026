"""The whole recipe as typed models: YAML in, dotted overrides, JSON schema out.

Nothing here imports torch: a recipe is read and refused before anything heavy loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mmrl.data.settings import (
    DIGIT_TASKS,
    PRETRAINING_TASKS,
    VIDEO_TASKS,
    AnyData,
    CacheConfig,
    DataConfig,
    DatasetConfig,
    DigitsData,
    EpisodeData,
    FileData,
    LeRobotData,
    LiberoData,
    ManiSkillData,
    PixelBudget,
    PythonData,
    RobotData,
    VideoBudget,
    VideoDigitsData,
)
from mmrl.objectives.settings import Settings

# What other rooms import from here: the recipe's settings, whichever room they are defined in.
__all__ = [
    "DIGIT_TASKS",
    "PRETRAINING_TASKS",
    "VIDEO_TASKS",
    "AnyData",
    "CacheConfig",
    "CheckpointConfig",
    "DataConfig",
    "DatasetConfig",
    "DigitsData",
    "EpisodeData",
    "EvalConfig",
    "FileData",
    "GreedyConfig",
    "LeRobotData",
    "LiberoData",
    "Lora",
    "ManiSkillData",
    "OptimConfig",
    "PixelBudget",
    "PolicyConfig",
    "PythonData",
    "Recipe",
    "RewardConfig",
    "RobotData",
    "RolloutConfig",
    "SamplingConfig",
    "SparseToDense",
    "StageConfig",
    "TrackingConfig",
    "ValueHeadConfig",
    "VideoBudget",
    "VideoDigitsData",
    "load_recipe",
]


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
    vision: bool = Field(False, description="also adapt every linear layer of the vision tower and its projector")


class ValueHeadConfig(Settings):
    """A critic on the policy's own hidden state; PPO needs one."""

    width: PositiveInt = Field(256, description="units of its hidden layer")
    outputs: PositiveInt = Field(1, description="values a decision: 1, or rollout.action_chunk for one an action")
    detach: bool = Field(False, description="the value loss does not reach the policy's own weights")


class PolicyConfig(Settings):
    """The model and how it is trained."""

    type: str = Field("qwen_vl", description="adapter: a name in mmrl.policies.registry")
    path: str = Field(
        description="folder or hub name of a checkpoint; `quickstart` (Qwen2.5-VL) and `quickstart_robot` (OpenVLA) "
        "ship with mmrl"
    )
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
        if self.freeze and self.lora is not None:
            raise ValueError("freeze has no effect beside lora: only adapters train, and lora.vision says where")
        return self


class RewardConfig(Settings):
    """One part of the reward: a name in vision_rewards, or the user's `module:function`."""

    name: str = "route"
    weight: float = Field(1.0, ge=0.0, description="0 only measures")
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
    pipeline: PositiveInt = Field(
        1, description="groups of worlds that take turns: one steps while the policy infers for another; 1: no turns"
    )


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


class SparseToDense(Settings):
    """Reading each held-out video with few frames first, and with more where the sampled answers disagree."""

    start: PositiveInt = Field(32, description="frames of the first level; each level after it has twice as many")
    max: PositiveInt = Field(128, description="frames beyond which no level goes")
    frames: list[PositiveInt] | None = Field(None, description="frames of each level, rising, instead of start and max")
    samples: PositiveInt = Field(5, description="answers a level")
    agreement: float = Field(1.0, gt=0.0, le=1.0, description="share of the samples that must give one answer")
    temperature: float = Field(0.7, ge=0.0, description="of the samples; evaluation.sampling has the rest")

    @model_validator(mode="after")
    def _rising(self) -> SparseToDense:
        # By value: a resolved recipe carries every default.
        doubling = {name: type(self).model_fields[name].default for name in ("start", "max")}
        if self.frames is not None and doubling != {name: getattr(self, name) for name in doubling}:
            raise ValueError("frames names the levels; leave start and max out beside it")
        if self.start > self.max:
            raise ValueError(f"start {self.start} is above max {self.max}")
        if not self.levels or sorted(set(self.levels)) != self.levels:
            raise ValueError(f"frames must name at least one level, and rise from level to level, not {self.frames}")
        for level in self.levels:
            if level % 2:
                raise ValueError(f"{level} frames are no whole number of temporal patches of two; take {level + 1}")
        if self.samples > 1 and self.temperature == 0.0:
            raise ValueError(f"temperature 0 samples one answer {self.samples} times; set it above 0, or samples to 1")
        return self

    @property
    def levels(self) -> list[int]:
        """Frames of each level."""
        if self.frames is not None:
            return list(self.frames)
        levels = [self.start]
        while 2 * levels[-1] <= self.max:
            levels.append(2 * levels[-1])
        return levels


class EvalConfig(Settings):
    """Held-out evaluation: greedy unless said otherwise."""

    every: PositiveInt | None = Field(None, description="steps between evaluations; None: only between stages")
    limit: PositiveInt | None = Field(None, description="rows a dataset")
    sampling: GreedyConfig = GreedyConfig()
    action_chunk: PositiveInt | None = Field(None, description="actions a decision, for episodes; None: the stage's")
    batch_size: PositiveInt = 256
    sparse_to_dense: SparseToDense | None = None
    videos: int = Field(0, ge=0, description="episodes of each held-out simulator set filmed at each evaluation")


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
        from mmrl.data.checks import check_budgets, check_episodes, check_recorded, check_rewarded
        from mmrl.errors import unknown
        from mmrl.evaluation.checks import check_held_out
        from mmrl.policies.checks import (
            check_data,
            check_evaluation,
            check_gripper,
            check_pictures,
            check_policy,
            check_stage,
        )
        from mmrl.rollouts.pipeline import check_groups
        from mmrl.trainer.checks import check_critic, check_objective

        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages: names must differ, got {names}")
        if not any(reward.weight for reward in self.rewards):
            raise ValueError("rewards: every weight is 0, so nothing is rewarded; set one above 0")
        for stage in self.stages:
            check_objective(stage, several=len(self.stages) > 1)
        check_policy(self.policy)
        for stage in self.stages:
            check_stage(stage, self.policy)
            check_critic(stage, self.policy)
            check_rewarded(stage, self.data.train)
            check_episodes(stage, self.data.train)
        check_evaluation(self.evaluation, self.policy)
        check_data(self.data, self.policy)
        check_gripper(self.policy.params, self.simulators, self.data.train)
        check_pictures(self.data, self.simulators)
        check_budgets(self.data, self.policy)
        for data in (*self.data.train, *self.data.eval):
            if isinstance(data, EpisodeData) and data.simulator not in self.simulators:
                raise ValueError(unknown("simulator", data.simulator, self.simulators))
        check_held_out(self.data, self.simulators)
        check_recorded(self.data, self.policy, self.stages, self.simulators)
        check_groups({stage.name: stage.rollout.pipeline for stage in self.stages}, self.simulators)
        return self

    def evaluation_chunk(self, stage: StageConfig) -> int:
        """Actions a decision in held-out episodes of a policy that `stage` trains or is about to."""
        return self.evaluation.action_chunk or stage.rollout.action_chunk

    @property
    def pipeline(self) -> int:
        """Groups of worlds that take turns, in every stage and in held-out episodes."""
        return self.stages[0].rollout.pipeline

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.output) / self.name


def load_recipe(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe from a YAML file or a mapping, applies `a.b=c` overrides and checks all of it.

    Raises:
        ConfigError: one line naming the key, its value, what is allowed and the nearest valid spelling.
    """
    from mmrl.reading import apply_overrides, expand, read_yaml, validate

    raw = dict(source) if isinstance(source, Mapping) else read_yaml(Path(source))
    written = apply_overrides(raw, overrides)
    return validate(Recipe, expand(written), written=written)
