"""LoRA adapters in peft's own layout, `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from mmrl.contracts.errors import ConfigError
from mmrl.policies.lora import ADAPTED
from mmrl.policies.training import plain_name, trained_beside_adapters
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.policy import TrainedConfig

WEIGHTS = "adapter_model.safetensors"
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
    from safetensors.torch import save_file

    whole = trained_beside_adapters(module.get_base_model(), entry_of(config.type).parts)
    state = get_peft_model_state_dict(module, adapter_name=NAME, save_embedding_layers=False)
    state |= {
        f"{ADAPTED}{name}.{key}": value for name, part in whole.items() for key, value in part.state_dict().items()
    }
    settings = copy.deepcopy(module.peft_config[NAME])
    settings.base_model_name_or_path, settings.inference_mode = config.path, True
    settings.modules_to_save = _saved_whole(module, whole) or None
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, folder / WEIGHTS)
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
