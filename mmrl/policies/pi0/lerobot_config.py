"""lerobot's config.json of π0 and π0.5, as transformers' config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import CheckpointError, unknown
from mmrl.policies.pi0.lerobot_keys import STATE_STEP, check_config

FAMILIES = ("pi0", "pi05")
VOCABULARY = 257152
# Sizes of the Gemma variants that lerobot's config names.
VARIANTS: dict[str, dict[str, int]] = {
    "gemma_2b": {"hidden_size": 2048, "num_hidden_layers": 18, "intermediate_size": 16384},
    "gemma_300m": {"hidden_size": 1024, "num_hidden_layers": 18, "intermediate_size": 4096},
}
HEADS = {"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256}
# Of the same name and meaning in transformers' config.
SETTINGS = (
    "chunk_size", "max_state_dim", "max_action_dim", "num_inference_steps", "min_period", "max_period",
    "time_sampling_beta_alpha", "time_sampling_beta_beta", "time_sampling_scale", "time_sampling_offset",
)  # fmt: skip
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 14,
    "num_hidden_layers": 27, "num_attention_heads": 16, "vision_use_head": False,
}  # fmt: skip


def is_lerobot(folder: Path) -> bool:
    """Whether the folder's config.json is lerobot's."""
    path = folder / "config.json"
    if not path.is_file():
        return False
    raw = read_json(path)
    return "model_type" not in raw and raw.get("type") in FAMILIES


def config_of(folder: Path) -> Any | None:
    """transformers' config of a lerobot checkpoint; None for a folder that is none.

    Raises:
        CheckpointError: sizes, or other settings, that are not known.
    """
    if not is_lerobot(folder):
        return None
    from transformers import PI0Config

    raw = read_json(folder / "config.json")
    check_config(raw, str(folder))
    if raw["type"] == "pi05":
        from mmrl.policies.pi0.pi05_model import PI05Config as Config
    else:
        Config = PI0Config
    text, expert = (_variant(raw, key) for key in ("paligemma_variant", "action_expert_variant"))
    height, width = raw.get("image_resolution", (224, 224))
    if height != width:
        raise CheckpointError(
            f"policy.path: '{folder}' has image_resolution {height} x {width}; only squares are known"
        )
    vlm = {
        "model_type": "paligemma",
        "text_config": {"model_type": "gemma", "vocab_size": VOCABULARY, **text},
        "vision_config": {**SIGLIP, "image_size": height},
        "projection_dim": text["hidden_size"],
        "image_token_id": VOCABULARY,
    }
    settings = {name: raw[name] for name in SETTINGS if name in raw}
    if raw["type"] == "pi05":
        settings["prompt_state_dim"] = _prompt_state_dim(folder, raw)
    dit = {"model_type": "gemma", "vocab_size": VOCABULARY, **expert}
    return Config(vlm_config=vlm, dit_config=dit, **settings)


def _prompt_state_dim(folder: Path, raw: Mapping[str, Any]) -> int:
    """Values of the state in π0.5's prompts: lerobot pads it before it cuts it into bins."""
    path = folder / "policy_preprocessor.json"
    steps = read_json(path).get("steps", []) if path.is_file() else []
    sizes = [step.get("config", {}).get("max_state_dim") for step in steps if step.get("registry_name") == STATE_STEP]
    return next((size for size in sizes if size), raw.get("max_state_dim", 32))


def _variant(raw: Mapping[str, Any], key: str) -> dict[str, int]:
    name = raw.get(key, {"paligemma_variant": "gemma_2b", "action_expert_variant": "gemma_300m"}[key])
    if name not in VARIANTS:
        raise CheckpointError(f"policy.path: config.json has {key}: {unknown('Gemma variant', name, VARIANTS)}")
    return {**HEADS, **VARIANTS[name]}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint. Raises CheckpointError where it cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"policy.path: '{path}' cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"policy.path: '{path}' holds a {type(content).__name__}, and keys are needed")
    return content
