"""LoRA through peft, and its merged weights without touching the live ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import ConfigError, nearest
from mmrl.policies.tensor_file import Weight
from mmrl.recipe.policies.parts import ModelPart, owner_of
from mmrl.recipe.policy import Lora

# What peft puts before the names of the model that it wraps, and what the names of its adapter weights hold.
ADAPTED = "base_model.model."
ADAPTER = ".lora_"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def add_lora(model: nn.Module, config: Lora, parts: Mapping[str, ModelPart], kind: str) -> Any:
    """Wraps the model with LoRA adapters; everything else is frozen.

    Args:
        parts: where adapters may be, see `Part.lora`.
        kind: `policy.type`, for errors.

    Raises:
        ConfigError: a target that names no layer.
    """
    from peft import LoraConfig, get_peft_model

    # Adapting the output layer would adapt the vocabulary.
    output = model.get_output_embeddings()
    layers: dict[str, list[str]] = {"targets": [], "vision": []}
    for name, module in model.named_modules():
        owner = owner_of(name, parts)
        if isinstance(module, nn.Linear) and module is not output and owner is not None:
            layers.setdefault(parts[owner].lora, []).append(name)
    adapted = _targets(config, layers["targets"], kind)
    if config.vision:
        # The layers there have other names than the language model's, so all of them are adapted.
        adapted += layers["vision"]
    settings = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=sorted(adapted)
    )
    return get_peft_model(model, settings)


def _targets(config: Lora, layers: Sequence[str], kind: str) -> list[str]:
    """The layers that `lora.targets` stands for."""
    if config.targets == "all-linear":
        return list(layers)
    if config.targets == "projections":
        named = {target: _named(target, layers) for target in PROJECTIONS}
    else:
        named = {target: _named(target, layers) for target in config.targets}
        for target, names in named.items():
            if not names:
                known = sorted({layer.rpartition(".")[2] for layer in layers})
                raise ConfigError(
                    f"policy.lora.targets: '{target}' names no linear layer that LoRA adapts in {kind}."
                    f"{nearest(target, known)} Allowed: {', '.join(known)}; or all-linear instead of a list"
                )
    if not any(named.values()):
        raise ConfigError(f"policy.lora.targets: {config.targets} names no linear layer of this model; set all-linear")
    return sorted({layer for names in named.values() for layer in names})


def _named(target: str, layers: Sequence[str]) -> list[str]:
    """The layers whose name is the target, or ends with it after a dot."""
    return [layer for layer in layers if layer == target or layer.endswith(f".{target}")]


def weights_of(model: nn.Module) -> dict[str, Weight]:
    """Every weight of the plain model, with the adapters added to it, by its name there.

    Each is computed when it is asked for, aside: merging in place and back would change the base by rounding.
    """
    modules = dict(model.named_modules())
    weights = {}
    for key, value in model.state_dict().items():
        if ADAPTER in key:
            continue
        owner, _, leaf = key.rpartition(".")
        read = None
        if owner.endswith(".base_layer"):
            layer = owner.removesuffix(".base_layer")
            if leaf == "weight":
                read = partial(_merged, value, modules[layer])
            key = f"{layer}.{leaf}"
        weights[key] = Weight(value, value.dtype, read)
    return weights


@torch.no_grad()
def _merged(weight: Tensor, layer: Any) -> Tensor:
    delta = sum(layer.get_delta_weight(name) for name in layer.active_adapters)
    return add_delta(weight, delta)


def add_delta(weight: Tensor, delta: Tensor) -> Tensor:
    """The sum in float32, rounded to the weight's dtype."""
    return (weight.float() + delta.float()).to(weight.dtype)
