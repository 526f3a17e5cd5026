"""lerobot's checkpoints of π0 and π0.5: their config, weight names and statistics.

A folder holds config.json ("type": "pi0" | "pi05"), model.safetensors, and policy_preprocessor.json and
policy_postprocessor.json, each naming the files that hold its normalisation statistics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.policies.flow.normaliser import Kind
from mmrl.policies.loading import load_errors, refuse_incomplete
from mmrl.policies.pi0.lerobot_config import read_json
from mmrl.policies.pi0.lerobot_keys import processor_files, read_steps, relative_dims
from mmrl.recipe.policy import PolicyConfig

KINDS: dict[str, Kind] = {"MEAN_STD": "mean_std", "QUANTILES": "quantiles"}
PALIGEMMA = "google/paligemma-3b-pt-224"


# lerobot's names, after its leading "model.", to ours; the first pattern that fits is taken.
RENAMES = (
    (r"^paligemma_with_expert\.paligemma\.lm_head\.", "model.vlm.language_model.embed_tokens."),
    (r"^paligemma_with_expert\.paligemma\.language_model\.model\.", "model.vlm.language_model."),
    (r"^paligemma_with_expert\.paligemma\.(model\.)?vision_tower\.(vision_model\.)?", "model.vlm.vision_tower."),
    (r"^paligemma_with_expert\.paligemma\.(model\.)?", "model.vlm."),
    (r"^paligemma_with_expert\.gemma_expert\.lm_head\.", "model.dit.embed_tokens."),
    (r"^paligemma_with_expert\.gemma_expert\.(model\.)?", "model.dit."),
    (r"^(state_proj|action_in_proj|action_time_mlp_in|action_time_mlp_out|time_mlp_in|time_mlp_out)\.",
     r"embed_action_time.\1."),
)  # fmt: skip
# Tables of tokens that the expert never gets.
UNREAD = "model.dit.embed_tokens."


def our_name(name: str) -> str:
    """The name of one of lerobot's weights in transformers' layout."""
    short = name.removeprefix("model.")
    for pattern, replacement in RENAMES:
        renamed, count = re.subn(pattern, replacement, short)
        if count:
            return renamed
    return short


def load_model(cls: Any, config: Any, folder: Path, policy: PolicyConfig) -> Any:
    """The model with the folder's weights. Raises CheckpointError where they are missing, unknown or misshapen."""
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    weights = [path for path in files if not path.name.startswith("policy_") and "_head" not in path.name]
    if not weights:
        raise CheckpointError(f"policy.path: '{policy.path}' holds no model.safetensors")
    with load_errors(policy.path):
        state = {our_name(name): value for path in weights for name, value in load_file(path).items()}
    model = cls._from_config(config, dtype=getattr(torch, policy.dtype), attn_implementation=policy.attention)
    expected = model.state_dict()
    refuse_incomplete(
        {
            "missing_keys": [name for name in expected if name not in state and not name.startswith(UNREAD)],
            "unexpected_keys": [name for name in state if name not in expected and not name.startswith(UNREAD)],
            "mismatched_keys": [
                name for name in state if name in expected and expected[name].shape != state[name].shape
            ],
        },
        policy.path,
    )
    model.load_state_dict({name: value for name, value in state.items() if name in expected}, strict=False)
    return model


@dataclass(frozen=True, slots=True)
class Processing:
    """What a folder's processors do.

    Attributes:
        kind: how actions and states are normalised.
        statistics: {"lerobot": {"action" | "proprio": {mean, std, q01, …}}}, empty where there are none.
        delta: action dimensions that are differences from the state.
    """

    kind: Kind
    statistics: dict[str, Any]
    delta: list[int]


def read_processing(folder: Path) -> Processing:
    """What the folder's config.json and processor files say of states and actions.

    Raises:
        CheckpointError: a step or setting that is not known.
        ConfigError: a normalisation that is not known here, one for actions and another for states, or steps that
            contradict config.json.
    """
    raw = read_json(folder / "config.json")
    mapping = raw.get("normalization_mapping", {})
    usual = {"pi0": "MEAN_STD", "pi05": "QUANTILES"}[raw["type"]]
    modes = {mapping.get(part, usual) for part in ("ACTION", "STATE")}
    if len(modes) > 1 or not modes <= set(KINDS):
        raise ConfigError(
            f"policy.path: config.json of '{folder}' has normalization_mapping {dict(mapping)}; actions and states "
            f"must share one of {', '.join(KINDS)}"
        )
    steps = read_steps(processor_files(folder, read_json), mapping, str(folder))
    tensors: dict[str, Tensor] = {}
    for name in ("policy_postprocessor.json", "policy_preprocessor.json"):
        tensors |= _step_tensors(folder, name)
    entry = {}
    for part, feature in (("action", "action"), ("proprio", "observation.state")):
        values = {
            key.removeprefix(f"{feature}."): value.flatten().tolist()
            for key, value in tensors.items()
            if key.startswith(f"{feature}.")
        }
        if values:
            entry[part] = values
    size = len(next(iter(entry["action"].values()))) if "action" in entry else raw.get("max_action_dim", 32)
    delta = relative_dims(raw, steps, size, str(folder))
    return Processing(KINDS[modes.pop()], {"lerobot": entry} if entry else {}, delta or [])


def _step_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """All tensors of a processor's steps."""
    from safetensors.torch import load_file

    if not (folder / name).is_file():
        return {}
    files = [step["state_file"] for step in read_json(folder / name).get("steps", []) if step.get("state_file")]
    for file in files:
        if Path(file).name != file:
            raise CheckpointError(f"policy.path: '{folder / name}' names '{file}', which is outside the checkpoint")
    return {key: value for file in files for key, value in load_file(folder / file).items()}


def tokenizer_name(folder: Path) -> str:
    """The tokenizer that policy_preprocessor.json names, else PaliGemma's."""
    path = folder / "policy_preprocessor.json"
    steps = read_json(path).get("steps", []) if path.is_file() else []
    names = [step.get("config", {}).get("tokenizer_name") for step in steps]
    return next((name for name in names if name), PALIGEMMA)
