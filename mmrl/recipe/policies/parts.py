"""Parts of a policy's model, by the names of its own modules: what `policy.freeze`, `policy.lora` and learning rates
speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ModelPart:
    """Modules of a model.

    Attributes:
        paths: names of the modules in the transformers model; those that a checkpoint lacks are passed over. A module
            inside of another part's belongs to the part that names it more closely.
        lora: `targets`: LoRA adapts the layers that `lora.targets` names; `vision`: every linear layer, where
            `lora.vision` is set; `whole`: it trains in full beside the adapters.
    """

    paths: tuple[str, ...]
    lora: Literal["targets", "vision", "whole"] = "targets"


def inside(name: str, paths: tuple[str, ...]) -> bool:
    """Whether a parameter or module is one of the modules at `paths`, or in one of them."""
    return any(name == path or name.startswith(f"{path}.") for path in paths)


def owner_of(name: str, parts: Mapping[str, ModelPart]) -> str | None:
    """The part that a parameter or module belongs to, by its name; None where none has it."""
    paths = [(path, owner) for owner, part in parts.items() for path in part.paths if inside(name, (path,))]
    return max(paths, key=lambda pair: len(pair[0]))[1] if paths else None


# Qwen-VL's parts; the merger lies inside of the tower and trains at its rate.
QWEN_VL = {
    "vision": ModelPart(("model.visual",), lora="vision"),
    "projector": ModelPart(("model.visual.merger", "model.visual.deepstack_merger_list"), lora="vision"),
    "language": ModelPart(("model.language_model", "lm_head")),
}
SMOLVLM = {
    "vision": ModelPart(("model.vision_model",), lora="vision"),
    "projector": ModelPart(("model.connector",), lora="vision"),
    "language": ModelPart(("model.text_model", "lm_head")),
}
OPENVLA = {
    "vision": ModelPart(("vision_backbone",), lora="vision"),
    "projector": ModelPart(("projector",), lora="vision"),
    "language": ModelPart(("language_model",)),
}
# The state's projector is far smaller than an adapter's layer and has no pretrained weights to stay near to.
OPENVLA_OFT = {**OPENVLA, "state": ModelPart(("proprio_projector",), lora="whole")}
# `heads` are small, without pretrained weights to stay near to, or (openpi) trained in full beside adapters.
PI0 = {
    "vision": ModelPart(("model.vlm.vision_tower",), lora="vision"),
    "projector": ModelPart(("model.vlm.multi_modal_projector",), lora="vision"),
    "language": ModelPart(("model.vlm.language_model",)),
    "expert": ModelPart(("model.dit",)),
    "heads": ModelPart(("embed_action_time", "action_out_proj", "noise_head"), lora="whole"),
}
