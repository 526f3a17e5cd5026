"""LoRA through peft, and its merged weights without touching the live ones."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.policy import Lora

# Vision towers, and what projects their features for the language model.
VISION = re.compile(r"(^|\.)(visual|vision_backbone|vision_tower|projector|multi_modal_projector)\.")


def add_lora(model: nn.Module, config: Lora) -> Any:
    """Wraps the model with LoRA adapters; everything else is frozen.

    Raises:
        ConfigError: a target that names no layer.
    """
    from peft import LoraConfig, get_peft_model

    linear = {n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    names = "|".join(map(re.escape, config.targets)) if isinstance(config.targets, list) else r"[^.]*"
    pattern = re.compile(rf"(.*\.)?(language_model|dit)\.(.*\.)?({names})")
    # The output layer is inside `language_model` in some models; adapting it would adapt the vocabulary.
    chosen = sorted(name for name in linear if pattern.fullmatch(name) and not name.endswith("lm_head"))
    if chosen and config.vision:
        # The layers there have other names than the language model's, so all of them are adapted.
        chosen += sorted(name for name in linear if VISION.search(name))
    if not chosen:
        raise ConfigError(f"policy.lora.targets: {config.targets} names no linear layer of this model")
    settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=chosen)
    return get_peft_model(model, settings)


@torch.no_grad()
def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """State dict of the plain model with every adapter added to its weight.

    Computed aside: merging in place and back would change the base weights by rounding.
    """
    modules = dict(model.named_modules())
    state = {}
    for key, value in model.state_dict().items():
        if ".lora_" in key:
            continue
        owner, _, leaf = key.rpartition(".")
        if owner.endswith(".base_layer"):
            layer = owner.removesuffix(".base_layer")
            if leaf == "weight":
                delta = sum(modules[layer].get_delta_weight(name) for name in modules[layer].active_adapters)
                value = (value.float() + delta.float()).to(value.dtype)
            key = f"{layer}.{leaf}"
        state[key] = value
    return state
