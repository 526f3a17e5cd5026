"""What a recipe says of its engine. Imports no torch: a recipe is read and refused before an engine is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.choosing import Chosen
from mmrl.recipe.endpoint_engine import EndpointEngineSettings
from mmrl.recipe.engine_settings import BatchedSettings, EngineSettings
from mmrl.recipe.policies.registry import POLICIES, entry_of
from mmrl.recipe.policy import PolicyConfig
from mmrl.recipe.registry import Registry
from mmrl.recipe.vllm_engine import VLLMSettings


class HFSettings(BatchedSettings):
    """The policy's own forward pass, token by token."""

    adapter: ClassVar[str] = "mmrl.engines.hf:HFEngine"
    samples: ClassVar[frozenset[str]] = frozenset({"tokens"})
    name: str = "hf"
    seeds: Literal["call", "request"] = Field(
        "call",
        description="what tokens are drawn from: `call`, one seed for all rows of a batch, which are sampled until the "
        "last has ended; `request`, a seed for each prompt, so that tokens do not depend on the prompts beside it and "
        "the next prompts take the places of finished rows (greedy sampling draws nothing and does so anyway)",
    )


class FlowSettings(BatchedSettings):
    """Chunks of actions, denoised."""

    adapter: ClassVar[str] = "mmrl.engines.flow:FlowEngine"
    samples: ClassVar[frozenset[str]] = frozenset({"flow"})
    name: str = "flow"


class FrameSettings(BatchedSettings):
    """Moments of a video, and the answers of a frozen reader to them; `batch_size` is that of the answers."""

    adapter: ClassVar[str] = "mmrl.engines.frames:FrameEngine"
    samples: ClassVar[frozenset[str]] = frozenset({"frames"})
    name: str = "frames"


ENGINES: Registry[type[EngineSettings]] = Registry(
    "engine",
    {
        "hf": HFSettings,
        "flow": FlowSettings,
        "frames": FrameSettings,
        "vllm": VLLMSettings,
        "endpoint": EndpointEngineSettings,
    },
)


def own_engine(policy: str) -> str:
    """The engine of a policy (`policy.type`) where a recipe names none."""
    return entry_of(policy).engine or "hf"


def engine_model(name: str) -> type[EngineSettings]:
    """The settings of an engine. Raises ConfigError with the nearest spelling."""
    model = ENGINES.get(name, place="engine.name")
    if not (isinstance(model, type) and issubclass(model, EngineSettings)):
        raise ConfigError(f"engine.name: '{name}' is no settings model of an engine: a subclass of EngineSettings")
    return model


AnyEngine = Annotated[EngineSettings, Chosen("name", engine_model, ENGINES.names, "engine.name")]


def with_engine(raw: Any) -> Any:
    """A recipe's keys with the name of its engine in them: where it gives none, the policy's own."""
    policy = raw.get("policy") if isinstance(raw, Mapping) else None
    kind = policy.type if isinstance(policy, PolicyConfig) else None
    if isinstance(policy, Mapping):
        kind = policy.get("type", "qwen_vl")
    engine = raw.get("engine", {}) if isinstance(raw, Mapping) else None
    if not isinstance(kind, str) or kind not in POLICIES:
        return raw
    if not isinstance(engine, Mapping) or engine.get("name") is not None:
        return raw
    return {**raw, "engine": {**engine, "name": own_engine(kind)}}


def check_engine(engine: EngineSettings, policy: str) -> None:
    """Raises ConfigError where an engine does not sample policies of this `policy.type`."""
    if not _samples(type(engine), policy):
        able = [name for name in ENGINES.names() if _samples(ENGINES.get(name), policy)]
        raise ConfigError(
            f"engine.name: '{engine.name}' does not sample policy.type '{policy}'. Allowed: {', '.join(able)}"
        )


def _samples(engine: type[EngineSettings], policy: str) -> bool:
    families = engine.families
    return (entry_of(policy).engine or "tokens") in engine.samples and (families is None or policy in families)
