"""What policies read of a recipe: the base of every family's settings, and the parts that families share.

A family's own settings (`mmrl.recipe.policies`) are a base and the parts that it reads; any other key is refused as
unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr, field_validator, model_validator

from mmrl.recipe.base import Settings
from mmrl.recipe.budgets import PixelBudget, VideoBudget
from mmrl.recipe.prompt_templates import read_template


class Lora(Settings):
    """LoRA adapters (peft) on the language model's linear layers."""

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: list[str] | Literal["projections", "all-linear"] = Field(
        "projections",
        description="names of layers, each of which the model must have; projections: q, k, v, o, gate, up and "
        "down_proj, those that it has",
    )
    vision: bool = Field(False, description="also adapt every linear layer of the vision tower and its projector")


class ValueHeadConfig(Settings):
    """A critic on the policy's own hidden state; PPO needs one."""

    width: PositiveInt = Field(256, description="units of its hidden layer")
    outputs: PositiveInt = Field(1, description="values per decision: 1, or rollout.action_chunk for one per action")
    detach: bool = Field(False, description="the value loss does not reach the policy's own weights")


class PolicyConfig(Settings):
    """The model: what every family reads."""

    type: str = Field(description="adapter: a name in mmrl.recipe.policies.registry")
    path: str = Field(
        description="folder or hub name of a checkpoint; `quickstart` (Qwen2.5-VL) and `quickstart_robot` (OpenVLA) "
        "ship with mmrl"
    )

    if TYPE_CHECKING:
        # Each family has these, as fields or, where a recipe cannot set them, as properties.
        @property
        def dtype(self) -> str: ...
        @property
        def device(self) -> str: ...
        @property
        def attention(self) -> str: ...


class LoadedConfig(PolicyConfig):
    """A model that is loaded into this process."""

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="what forward passes compute in; trained weights are float32. auto: bfloat16 on CUDA, float32 on "
        "a CPU; a run records which",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:n")
    attention: Literal["sdpa", "eager"] = "sdpa"
    max_prompt_tokens: PositiveInt | None = Field(None, description="longer prompts are bad samples, never cut")


class TrainedConfig(LoadedConfig):
    """A model that trains, by adapters or in all parts that are not frozen, and may have a critic."""

    lora: Lora | None = None
    freeze: list[str] = Field([], description="parts of the model that do not train, by the names of its type")
    value_head: ValueHeadConfig | None = None
    _trains: bool = PrivateAttr(True)

    @property
    def trains(self) -> bool:
        """Whether anything of it does."""
        return self._trains

    def as_frozen(self) -> Self:
        """The same model with nothing to train, and so without float32 copies of its weights."""
        frozen = self.model_copy(update={"lora": None, "freeze": [], "value_head": None})
        frozen._trains = False
        return frozen

    @model_validator(mode="after")
    def _trained(self) -> TrainedConfig:
        refuse_both(self.freeze, self.lora)
        return self


class StagePolicy(Settings):
    """What of `policy` a stage may set: what trains in it."""

    freeze: list[str] = Field([], description="parts of the model that do not train in this stage")
    lora: Lora | None = Field(None, description="adapters that this stage trains; null: none, the parts themselves")

    @model_validator(mode="after")
    def _trained(self) -> StagePolicy:
        refuse_both(self.freeze, self.lora)
        return self


def refuse_both(freeze: list[str], lora: Lora | None) -> None:
    """Raises ValueError on frozen parts beside adapters."""
    if freeze and lora is not None:
        raise ValueError(
            "freeze has no effect beside lora: only adapters train, and lora.vision says where; set freeze to [] or "
            "lora to null"
        )


class Packed(Settings):
    """Rows of tokens that one forward pass may pack."""

    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    packing: Literal["group", "row"] = Field(
        "group", description="group: a prompt and all answers to it share one forward row; row: one row per answer"
    )


class Binned(Settings):
    """Actions in bins, each of which a token stands for."""

    action_bins: PositiveInt | None = Field(None, description="bins of each action dimension, for episodes")


class Checkpointed(Settings):
    """Activations that backward computes again."""

    gradient_checkpointing: bool = False


class Templated(Settings):
    """Questions and answers in the form of a chat."""

    chat_template: str | None = Field(
        None, description="Jinja, or a .jinja file, instead of the checkpoint's chat template; saved with the model"
    )

    @field_validator("chat_template")
    @classmethod
    def _text(cls, written: str | None) -> str | None:
        # The text, so that a run's record needs no other file.
        return None if written is None else read_template(written, "chat_template")


class Sighted(Settings):
    """Pictures and videos of any size, which the policy's processor resizes."""

    image: PixelBudget = PixelBudget()
    video: VideoBudget = VideoBudget()


class Remembering(Settings):
    """Pictures and videos that a frozen vision tower sees once."""

    features_gb: float = Field(
        1.0,
        ge=0.0,
        description="GB kept of what a vision tower and projector that do not train gave for the prompts of a step: "
        "they see a prompt once, for sampling, scoring and every update; prompts beyond it are seen each time",
    )
