"""Policies by name, and what each can do. Adding one is a module and an entry here, or in a package of its own.

Nothing here imports torch: recipes are checked against the entries while they are read (`mmrl.recipe.checks.policies`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.base import Settings
from mmrl.recipe.choosing import Chosen
from mmrl.recipe.importing import import_named
from mmrl.recipe.policies import parts
from mmrl.recipe.policies.parts import ModelPart
from mmrl.recipe.policy import PolicyConfig
from mmrl.recipe.reading import validate
from mmrl.recipe.registry import Registry


@dataclass(frozen=True, slots=True)
class Rule:
    """A setting of a stage that a policy limits; what it reads of `policy` itself is said by its settings.

    Attributes:
        key: `objective.…` or `rollout.…` of a stage.
        allowed: the values it may have.
        why: follows "does not fit policy.type '…', which"; says where to turn, if not to an allowed value.
        unless: a `policy.params` entry under which any value fits.
    """

    key: str
    allowed: tuple[Any, ...]
    why: str
    unless: tuple[str, Any] | None = None


LIKELIHOOD = frozenset({"ratio", "probability", "entropy", "normaliser"})
# Of those that another policy's distribution over the whole vocabulary can stand beside.
DISTRIBUTION = LIKELIHOOD | {"distribution"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy.

    Attributes:
        adapter: `module:class`, with `from_pretrained(config)`.
        settings: `module:class` of its settings, a `PolicyConfig`, of a module that imports no torch.
        learns: what its data gives: `answers` in text, `episodes` in a simulator, `actions` that were recorded.
        parts: of its model, which `policy.freeze` may name and `policy.lora` follows; empty: neither fits.
        backbone: those that `backbone` stands for in `policy.freeze`.
        reads: `model_type`s of the checkpoints that it loads.
        layout: `module:function` that gives transformers' config of a folder in a layout of its own, None for others.
        packaged: checkpoints of it that ship with mmrl.
        tiny: families of which `mmrl tiny` makes it a checkpoint, the likeliest first.
        writer: the module that writes those: `SIZES` by family and `write(family, folder, seed, size)`.
        engine: the one engine that can sample it, or None.
        horizon: a demonstration may show it more actions than it executes, see `Policy.horizon`.
        clips: actions beyond q01 and q99 of its statistics are cut there.
        state: it cannot do without the robot's state.
        sampled: what it gives of units that it sampled: see `mmrl.recipe.parts.Part.needs`.
        shown: what it gives of demonstrated ones; nothing where it has a loss of its own for them.
        rules: settings that it limits.
        companions: another checkpoint of it can score its units on its prompts.
        states: it has a hidden state of a prompt, which samplers may draw by.
        text: what it samples is what it says.
        trains: it has gradients.
    """

    adapter: str
    settings: str
    learns: tuple[str, ...]
    parts: Mapping[str, ModelPart] = field(default_factory=dict)
    backbone: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    layout: str | None = None
    packaged: tuple[str, ...] = ()
    tiny: tuple[str, ...] = ()
    writer: str | None = None
    engine: str | None = None
    horizon: bool = False
    clips: bool = False
    state: bool = False
    sampled: frozenset[str] = LIKELIHOOD
    shown: frozenset[str] = LIKELIHOOD
    rules: tuple[Rule, ...] = ()
    companions: bool = False
    states: bool = False
    text: bool = True
    trains: bool = True

    @property
    def about(self) -> str:
        """One sentence, for `mmrl list`."""
        return " ".join(str(attribute(self.settings).__doc__).split("\n\n")[0].split())

    @property
    def freezable(self) -> tuple[str, ...]:
        """What `policy.freeze` may name."""
        return (*self.parts, *(["backbone"] if self.backbone else []))

    def frozen_by(self, freeze: Collection[str]) -> set[str]:
        """The parts that `policy.freeze` stops."""
        return {part for name in freeze for part in (self.backbone if name == "backbone" else (name,))}


ACTS = ("episodes", "actions")
_QWEN: Mapping[str, Any] = {
    "reads": ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"),
    "tiny": ("qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe"),
    "writer": "mmrl.policies.tiny.qwen_vl",
}
_OPENVLA: Mapping[str, Any] = {"reads": ("openvla",), "writer": "mmrl.policies.tiny.openvla", "clips": True}

# What limits the tokens that are drawn, and its value that limits none.
_TOKENS = (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0))
_SELECTOR = (
    Rule("objective.value", (None,), "has no critic; use a method without one (grpo)"),
    *(
        Rule(f"objective.{key}", (nothing,), "learns from rewards: no dataset says which frames to choose")
        for key, nothing in (("demonstrations", False), ("gate", None), ("buffer", None), ("inject", None))
    ),
    *(Rule(f"rollout.{key}", (off,), "draws moments, whose spread is rollout.temperature") for key, off in _TOKENS),
)
_FLOW = (
    Rule("objective.inject", (None,), "has no likelihood of demonstrations; method co_train learns from them"),
    Rule(
        "objective.entropy",
        (0.0,),
        "has noise that no weight changes, so that a bonus does nothing; policy.params.sampler noise has it learnt",
        unless=("sampler", "noise"),
    ),
    Rule("rollout.temperature", (0.0, 1.0), "has its noise in policy.params.eta"),
    *(Rule(f"rollout.{key}", (off,), "samples no tokens") for key, off in _TOKENS),
)

_ENTRIES = {
    "qwen_vl": Entry(
        "mmrl.policies.qwen_vl.policy:QwenVL",
        "mmrl.recipe.policies.qwen_vl:QwenVLSettings",
        ("answers", *ACTS),
        parts=parts.QWEN_VL,
        packaged=("quickstart",),
        sampled=DISTRIBUTION,
        shown=DISTRIBUTION,
        companions=True,
        states=True,
        **_QWEN,
    ),
    "smolvlm": Entry(
        "mmrl.policies.smolvlm:SmolVLM",
        "mmrl.recipe.policies.smolvlm:SmolVLMSettings",
        ("answers",),
        parts=parts.SMOLVLM,
        reads=("smolvlm", "idefics3"),
        tiny=("smolvlm", "idefics3"),
        writer="mmrl.policies.tiny.smolvlm",
        sampled=DISTRIBUTION,
        shown=DISTRIBUTION,
        companions=True,
        states=True,
    ),
    "frame_selector": Entry(
        "mmrl.policies.frame_selector.policy:FrameSelector",
        "mmrl.recipe.policies.frame_selector:FrameSelectorSettings",
        ("answers",),
        engine="frames",
        text=False,
        # A sequence of choices: no softmax over one set of logits.
        sampled=LIKELIHOOD - {"normaliser"},
        rules=_SELECTOR,
        **_QWEN,
    ),
    "openvla": Entry(
        "mmrl.policies.openvla.policy:OpenVLA",
        "mmrl.recipe.policies.openvla:OpenVLASettings",
        ACTS,
        parts=parts.OPENVLA,
        backbone=("vision", "language"),
        packaged=("quickstart_robot",),
        tiny=("openvla",),
        **_OPENVLA,
    ),
    "openvla_oft": Entry(
        "mmrl.policies.openvla.oft:OpenVLAOFT",
        "mmrl.recipe.policies.openvla:OFTSettings",
        ACTS,
        parts=parts.OPENVLA_OFT,
        backbone=("vision", "language"),
        tiny=("openvla_oft",),
        **_OPENVLA,
    ),
    **{
        name: Entry(
            adapter,
            "mmrl.recipe.policies.flow:Pi0Settings",
            ACTS,
            parts=parts.PI0,
            backbone=("vision", "projector", "language"),
            engine="flow",
            text=False,
            horizon=True,
            state=True,
            reads=(name,),
            layout="mmrl.policies.pi0.lerobot_config:config_of",
            tiny=(name,),
            writer="mmrl.policies.tiny.pi0",
            # Densities of what it sampled, a flow-matching loss for what it is shown.
            sampled=frozenset({"ratio"}),
            shown=frozenset(),
            rules=_FLOW,
        )
        for name, adapter in (("pi0", "mmrl.policies.pi0.policy:Pi0"), ("pi05", "mmrl.policies.pi0.pi05_policy:Pi05"))
    },
    "endpoint": Entry(
        "mmrl.policies.endpoint:EndpointPolicy",
        "mmrl.recipe.policies.endpoint:EndpointPolicySettings",
        ("answers",),
        engine="endpoint",
        trains=False,
        sampled=frozenset(),
        shown=frozenset(),
    ),
}


POLICIES: Registry[Entry] = Registry("policy", _ENTRIES)


def entry_of(name: str) -> Entry:
    """The entry of a policy. Raises ConfigError with the nearest spelling, or where `module:name` is something else."""
    entry = POLICIES.get(name, "policy.type")
    if not isinstance(entry, Entry):
        raise ConfigError(f"policy.type: '{name}' is no entry of a policy, but {type(entry).__name__}")
    return entry


def policies_for(data: str) -> list[str]:
    """The policies that learn from some data, see `Entry.learns`."""
    return [name for name in POLICIES if data in entry_of(name).learns and entry_of(name).trains]


def policies_of(checkpoint: str) -> list[str]:
    """The policies that load a checkpoint of some `model_type`."""
    return [name for name in POLICIES if checkpoint in entry_of(name).reads]


def alternatives(names: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def settings_model(name: str) -> type[PolicyConfig]:
    """The settings of a policy. Raises ConfigError as `entry_of` does. Imports no torch."""
    return attribute(entry_of(name).settings)


AnyPolicy = Annotated[PolicyConfig, Chosen("type", settings_model, POLICIES.names, "policy.type", "qwen_vl")]


def policy_settings(**keys: Any) -> Any:
    """The checked settings of a policy, of the keys that stand under `policy` in a recipe.

    Raises:
        ConfigError: as for a recipe.
    """
    return validate(_Recipe, {"policy": keys}).policy


class _Recipe(Settings):
    policy: AnyPolicy


def attribute(source: str) -> Any:
    """What `module:name` stands for in a table, also one of the user's."""
    return import_named(source)
