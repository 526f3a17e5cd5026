"""Policies by name, and what each can do. Adding one is a module and an entry here.

Nothing here imports torch: recipes are checked against the entries while they are read (`mmrl.recipe.checks.policies`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from mmrl.contracts.errors import ConfigError, unknown
from mmrl.recipe.policies import parts
from mmrl.recipe.policies.parts import Part


@dataclass(frozen=True, slots=True)
class Rule:
    """A setting that a policy limits.

    Attributes:
        key: `policy.…` of a recipe, `objective.…` or `rollout.…` of a stage.
        allowed: the values it may have.
        why: follows "does not fit policy.type '…', which"; says where to turn, if not to an allowed value.
        unless: a `policy.params` entry under which any value fits.
    """

    key: str
    allowed: tuple[Any, ...]
    why: str
    unless: tuple[str, Any] | None = None


LIKELIHOOD = frozenset({"ratio", "probability"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy.

    Attributes:
        adapter: `module:class`, with `from_pretrained(config)`.
        learns: what its data gives: `answers` in text, `episodes` in a simulator, `actions` that were recorded.
        params: `module:class` of `policy.params`, of a module that imports no torch; None: it has none.
        parts: of its model, which `policy.freeze` may name and `policy.lora` follows; empty: neither fits.
        backbone: those that `backbone` stands for in `policy.freeze`.
        packaged: checkpoints of it that ship with mmrl.
        tiny: the family of which `mmrl tiny` makes it a checkpoint.
        engine: the one engine that can sample it, or None.
        horizon: a demonstration may show it more actions than it executes, see `Policy.horizon`.
        binned: its actions are cut into `policy.action_bins`; the checkpoints of others say how they act.
        sampled: what it gives of units that it sampled: see `mmrl.recipe.parts.Part.needs`.
        shown: what it gives of demonstrated ones; nothing where it has a loss of its own for them.
        rules: settings that it limits.
    """

    adapter: str
    learns: tuple[str, ...]
    params: str | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)
    backbone: tuple[str, ...] = ()
    packaged: tuple[str, ...] = ()
    tiny: str = "qwen2_5_vl"
    engine: str | None = None
    horizon: bool = False
    binned: bool = False
    sampled: frozenset[str] = LIKELIHOOD
    shown: frozenset[str] = LIKELIHOOD
    rules: tuple[Rule, ...] = ()

    @property
    def freezable(self) -> tuple[str, ...]:
        """What `policy.freeze` may name."""
        return (*self.parts, *(["backbone"] if self.backbone else []))

    def frozen_by(self, freeze: Collection[str]) -> set[str]:
        """The parts that `policy.freeze` stops."""
        return {part for name in freeze for part in (self.backbone if name == "backbone" else (name,))}


ACTS = ("episodes", "actions")

_SELECTOR = (
    Rule("policy.lora", (None,), "trains its selector alone"),
    Rule("policy.value_head", (None,), "trains its selector alone"),
    Rule("objective.value", (None,), "has no critic; use a method without one (grpo)"),
    *(
        Rule(f"objective.{key}", (nothing,), "learns from rewards: no dataset says which frames to choose")
        for key, nothing in (("demonstrations", False), ("gate", None), ("inject", None))
    ),
)
_ROBOT = (
    Rule("policy.action_bins", (None,), "has its checkpoint's own actions"),
    Rule("policy.image.min_pixels", (None,), "resizes pictures to its checkpoint's size"),
    Rule("policy.image.max_pixels", (None,), "resizes pictures to its checkpoint's size"),
)
_OFT = (*_ROBOT, Rule("policy.attention", ("sdpa", "eager"), "attends in both directions"))
_FLOW = (
    *_ROBOT,
    Rule("policy.attention", ("sdpa", "eager"), "attends in blocks"),
    Rule("policy.gradient_checkpointing", (False,), "has an expert that reads a key-value cache"),
    Rule("objective.inject", (None,), "has no likelihood of demonstrations; method co_train learns from them"),
    Rule(
        "objective.entropy",
        (0.0,),
        "has noise that no weight changes, so that a bonus does nothing; policy.params.sampler noise has it learnt",
        unless=("sampler", "noise"),
    ),
    Rule("rollout.temperature", (0.0, 1.0), "has its noise in policy.params.eta"),
    *(
        Rule(f"rollout.{key}", (off,), "samples no tokens")
        for key, off in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0))
    ),
)

POLICIES = {
    "qwen_vl": Entry(
        "mmrl.policies.qwen_vl.policy:QwenVL",
        ("answers", *ACTS),
        parts=parts.QWEN_VL,
        packaged=("quickstart",),
        binned=True,
    ),
    "frame_selector": Entry(
        "mmrl.policies.frame_selector.policy:FrameSelector",
        ("answers",),
        params="mmrl.recipe.policies.frame_selector:FrameSelectorParams",
        engine="frames",
        rules=_SELECTOR,
    ),
    "openvla": Entry(
        "mmrl.policies.openvla.policy:OpenVLA",
        ACTS,
        params="mmrl.recipe.policies.openvla:OpenVLAParams",
        parts=parts.OPENVLA,
        backbone=("vision", "language"),
        packaged=("quickstart_robot",),
        tiny="openvla",
        rules=_ROBOT,
    ),
    "openvla_oft": Entry(
        "mmrl.policies.openvla.oft:OpenVLAOFT",
        ACTS,
        params="mmrl.recipe.policies.openvla:OFTParams",
        parts=parts.OPENVLA_OFT,
        backbone=("vision", "language"),
        tiny="openvla_oft",
        rules=_OFT,
    ),
    **{
        name: Entry(
            adapter,
            ACTS,
            params="mmrl.recipe.policies.flow:FlowParams",
            parts=parts.PI0,
            backbone=("vision", "projector", "language"),
            engine="flow",
            horizon=True,
            tiny=name,
            # Densities of what it sampled, a flow-matching loss for what it is shown.
            sampled=frozenset({"ratio"}),
            shown=frozenset(),
            rules=_FLOW,
        )
        for name, adapter in (("pi0", "mmrl.policies.pi0.policy:Pi0"), ("pi05", "mmrl.policies.pi0.pi05_policy:Pi05"))
    },
}


def entry_of(name: str) -> Entry:
    """The entry of a policy. Raises ConfigError with the nearest spelling."""
    if name not in POLICIES:
        raise ConfigError(f"policy.type: {unknown('policy', name, POLICIES)}")
    return POLICIES[name]


def params_model(name: str) -> type | None:
    """The settings model of a policy's `policy.params`; None where it has none. Imports no torch."""
    source = entry_of(name).params
    return None if source is None else attribute(source)


def attribute(source: str) -> Any:
    """What `module:name` stands for in a table of this package."""
    module, _, name = source.partition(":")
    return getattr(import_module(module), name)
