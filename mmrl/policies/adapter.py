"""LoRA adapters in peft's own layout, `adapter_config.json` and `adapter_model.safetensors`.

A folder of adapters is a checkpoint too: with `model_config.json` and what else lies beside a model's weights, a policy
is loaded from their base with the adapters merged.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import CheckpointError, ConfigError, first_line
from mmrl.policies.lora import ADAPTED, ADAPTER, add_delta
from mmrl.policies.tensor_file import plain, write_tensors
from mmrl.policies.training import plain_name, trained_beside_adapters
from mmrl.policies.value_head import FILE as HEAD
from mmrl.policies.value_head import PREFIX as HEAD_PREFIX
from mmrl.recipe.policies.parts import inside
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.policy import TrainedConfig

SETTINGS = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# The model's own config.json. By that name, transformers would look for the model's weights beside it.
CONFIG = "model_config.json"
# peft's name of the only adapter there is.
NAME = "default"


def save_adapter(module: Any, config: TrainedConfig, folder: Path) -> None:
    """Writes the adapters, and what trains in full beside them, for `PeftModel.from_pretrained(base, folder)`.

    Args:
        module: peft's wrapper.
        config: the policy's settings.

    Raises:
        ConfigError: the policy has no adapters.
    """
    if not config.lora:
        raise ConfigError("policy.lora is unset, so that there are no adapters; its whole model is in model/")
    from peft import get_peft_model_state_dict

    whole = trained_beside_adapters(module.get_base_model(), entry_of(config.type).parts)
    state = get_peft_model_state_dict(module, adapter_name=NAME, save_embedding_layers=False)
    state |= {
        f"{ADAPTED}{name}.{key}": value for name, part in whole.items() for key, value in part.state_dict().items()
    }
    settings = copy.deepcopy(module.peft_config[NAME])
    settings.base_model_name_or_path, settings.inference_mode = config.path, True
    settings.modules_to_save = _saved_whole(module, whole) or None
    # A set, which would be written in another order by each process.
    settings.target_modules = sorted(settings.target_modules)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, plain(state))
    settings.save_pretrained(folder)


def _saved_whole(module: nn.Module, names: Iterable[str]) -> list[str]:
    """The names for peft's `modules_to_save`, each of which it takes as the end of a module's name."""
    known = [plain_name(name) for name, _ in module.named_modules()]
    names = sorted(names)
    for name in names:
        alike = [other for other in known if other.endswith(f".{name}")]
        if alike:
            raise ConfigError(f"'{name}' trains beside the adapters, and peft would take '{alike[0]}' for it")
    return names


def exact_parameters(folder: Path) -> dict[str, Tensor]:
    """What a folder of adapters holds of all that is trained, by the names of `Policy.trainable`.

    Raises:
        CheckpointError: a file that is missing or damaged.
    """
    state = {_trained_name(key): value for key, value in _load(folder / WEIGHTS).items()}
    if (folder / HEAD).is_file():
        state |= {HEAD_PREFIX + key: value for key, value in _load(folder / HEAD).items()}
    return state


def _trained_name(key: str) -> str:
    """A name in peft's files as it is in its wrapper, where the adapter's own name stands before the last part."""
    layer, _, leaf = key.rpartition(".")
    return f"{layer}.{NAME}.{leaf}" if ADAPTER in key else key


def _load(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"policy.path: '{path}' does not load: {first_line(error)}; copy it again") from None


def read_settings(folder: Path) -> dict[str, Any] | None:
    """adapter_config.json of a folder that holds adapters in place of a model's weights; None of another folder.

    Raises:
        CheckpointError: adapters of a kind that is not known here.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return None
    settings = json.loads(path.read_text())
    usual = {"peft_type": "LORA", "bias": "none"}
    plainly = ("use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "lora_bias")
    strange = [key for key, value in usual.items() if settings.get(key) != value]
    strange += [key for key in plainly if settings.get(key)]
    if strange:
        raise CheckpointError(
            f"policy.path: '{path}' has {strange[0]} {settings.get(strange[0])}, and adapters are read that are plain "
            "LoRA; merge them into their base with peft's merge_and_unload"
        )
    return settings


@torch.no_grad()
def merge(model: nn.Module, folder: Path, kind: str) -> None:
    """Adds a folder's adapters to the weights of their base, in place, and puts in what was trained beside them.

    Args:
        kind: `policy.type`; a part of it that the model lacks (a head with a file of its own) is passed over.

    Raises:
        CheckpointError: a weight that the model has not, or has in another shape.
    """
    state, settings = _load(folder / WEIGHTS), json.loads((folder / SETTINGS).read_text())
    own = tuple(path for part in entry_of(kind).parts.values() if part.lora == "whole" for path in part.paths)
    weights = dict(model.named_parameters())
    for key, value in state.items():
        name = plain_name(key)
        layer, _, leaf = name.partition(ADAPTER)
        target = weights.get(f"{layer}.weight" if leaf else name)
        if leaf == "B.weight":
            continue
        if target is None and not leaf and inside(name, own):
            continue
        if leaf == "A.weight":
            value = (state[f"{ADAPTED}{layer}{ADAPTER}B.weight"] @ value) * (settings["lora_alpha"] / settings["r"])
        if target is None or target.shape != value.shape or leaf not in ("", "A.weight"):
            shown = "none" if target is None else f"one of {list(target.shape)}"
            raise CheckpointError(
                f"policy.path: the adapters in '{folder}' hold '{key}' for a weight of {list(value.shape)}, and their "
                f"base '{settings['base_model_name_or_path']}' has {shown}; it is another model"
            )
        target.copy_(add_delta(target, value) if leaf else value)
