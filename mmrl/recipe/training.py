"""Stages, optimizer and checkpoints of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.beginnings import as_weights
from mmrl.recipe.data import DataConfig
from mmrl.recipe.engines import AnyEngine
from mmrl.recipe.evaluation import EvalConfig
from mmrl.recipe.generating import GENERATE, READ, GenerateConfig
from mmrl.recipe.methods import complete_objective
from mmrl.recipe.objective import Objective
from mmrl.recipe.own_sections import StageCheckpoint
from mmrl.recipe.policy import StagePolicy
from mmrl.recipe.reading import STAGE_SECTIONS
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.rollout import RolloutConfig
from mmrl.recipe.until import Loop, Until

MinibatchBy = Literal["group", "trajectory"]
# Keys of a stage that say nothing where they are unset.
OPTIONAL = (*STAGE_SECTIONS, "from", "generate", "round", "loops", "until")


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

    model_config = ConfigDict(serialize_by_alias=True)

    name: str
    method: str
    steps: int = Field(ge=0, description="batches of data; 0: a stage that generates, and trains nothing")
    prompts: PositiveInt = Field(16, description="prompts rolled out per step")
    demonstrations: PositiveInt = Field(16, description="demonstrations per step, where the method draws them")
    minibatches: PositiveInt = Field(1, description="optimizer steps per pass over a rollout batch")
    minibatch_by: MinibatchBy = Field(
        "group",
        description="what is dealt to them whole: group (the answers to one prompt, whose pictures are then computed "
        "once per pass; episodes one by one) or trajectory",
    )
    epochs: PositiveInt = Field(1, description="passes over a rollout batch")
    objective: Objective = Field(description="a recipe gives what differs from the method's; here it is whole")
    optim: OptimConfig = OptimConfig()
    rollout: RolloutConfig = RolloutConfig()
    until: Until | None = Field(None, description="a figure that ends the stage before its last step")
    data: DataConfig | None = Field(None, description="of this stage; what it leaves out is the recipe's")
    rewards: list[RewardConfig] | None = Field(None, description="of this stage, in place of the recipe's")
    evaluation: EvalConfig | None = Field(None, description="of this stage; what it leaves out is the recipe's")
    checkpoint: StageCheckpoint | None = Field(None, description="the held-out figure that is best in this stage")
    engine: AnyEngine | None = Field(None, description="of this stage; what it leaves out is the recipe's")
    policy: StagePolicy | None = Field(None, description="what trains in this stage; left out: what the recipe says")
    origin: Annotated[dict[str, float] | None, BeforeValidator(as_weights)] = Field(
        None,
        alias="from",
        description="what the stage starts from in place of the weights that the stage before it left: an earlier "
        "stage, a run, a checkpoint or a model; a list of them: their mean; a mapping: their sum with these weights",
    )
    generate: GenerateConfig | None = Field(
        None, description="in place of a method and steps: the policy answers `data.train`, and a data set is written"
    )
    round: PositiveInt | None = Field(None, description="written by `rounds`: which round of them the stage is in")
    loops: list[Loop] | None = Field(
        None, description="written by `rounds` with `until`: those around the stage that a figure may end, outer first"
    )

    @property
    def own_sections(self) -> dict[str, Any]:
        """The sections that the stage has in place of the recipe's, as mappings."""
        return self.model_dump(include={key for key in STAGE_SECTIONS if getattr(self, key) is not None}, mode="json")

    @model_serializer(mode="wrap")
    def _without_the_recipe_s(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A section that is the recipe's is left out, so that a record holds it once."""
        whole = handler(self)
        read = READ if self.generate is not None else whole
        return {
            key: value for key, value in whole.items() if key in read and (value is not None or key not in OPTIONAL)
        }

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps of the whole stage."""
        return self.steps * self.minibatches * self.epochs

    @model_validator(mode="before")
    @classmethod
    def _take_the_method(cls, raw: Any) -> Any:
        """Merges what a recipe overrides over the method's objective."""
        if not isinstance(raw, Mapping):
            return raw
        if raw.get("generate") is not None:
            return _generating(raw)
        if raw.get("steps") == 0:
            raise ValueError("steps: 0 trains nothing; give a number, 1 or more, or leave the stage out")
        method, overrides = raw.get("method"), raw.get("objective", {})
        if not isinstance(method, str):
            # The method is refused; that it gives no objective is not said as well.
            return {**raw, "objective": Objective(rollouts=False, streams={})}
        if not isinstance(overrides, Mapping):
            return raw
        try:
            return {**raw, "objective": complete_objective(method, overrides)}
        except ConfigError as error:
            raise ValueError(str(error)) from None


def _generating(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys of a stage that generates. Raises ValueError on one that only training reads."""
    for key in raw:
        if key in (*StageConfig.model_fields, "from") and key not in READ and key != "objective":
            raise ValueError(f"{key}: a stage that generates trains nothing and does not read it; leave it out")
    if raw.get("method") != GENERATE or raw.get("steps") != 0:
        raise ValueError("generate: stands in place of method and steps; leave both out")
    return {**raw, "objective": Objective(rollouts=False, streams={})}


class CheckpointConfig(Settings):
    """Checkpoints appear whole or not at all."""

    every: PositiveInt | None = Field(None, description="steps; None: only at the end of a stage and when interrupted")
    keep: PositiveInt = Field(2, description="newest checkpoints kept besides the best")
    merged: Literal["never", "end", "always"] = Field(
        "never",
        description="under LoRA, when a checkpoint holds the whole model, adapters merged, besides the adapters: at "
        "the end of the run, or always; `mmrl export` makes it of any",
    )
    best: str | None = Field(
        "mean",
        description="held-out figure whose best checkpoint is kept: mean (loss where nothing is scored), a task, loss",
    )
    on_damaged: Literal["stop", "older"] = Field(
        "stop",
        description="resume=auto where the newest is damaged: stop and name the newest whole one; older: take it",
    )
