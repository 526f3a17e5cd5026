"""Reading and writing checkpoint folders in the published layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import CheckpointError
from mmrl.data.robot.statistics import FILE, save_statistics
from mmrl.policies import adapter
from mmrl.policies.loading import COMPANIONS, load_pretrained, read_own_config
from mmrl.policies.openvla.config import OpenVLAConfig
from mmrl.policies.openvla.model import OpenVLAForActionPrediction
from mmrl.policies.saving import ABOUT, INDEX
from mmrl.recipe.policy import PolicyConfig

PROPRIO = "proprio_projector."
PROPRIO_FILE = "proprio_projector.safetensors"
# OpenVLA-OFT's own names, with the training step in the middle.
PUBLISHED_PROPRIO = "proprio_projector--*checkpoint.pt"
# What its other variants act with, which the discrete head is not.
OTHER_HEADS = {
    "action_head--*": "an L1 or diffusion head",
    "noisy_action_projector--*": "a diffusion head",
    "vision_backbone--*": "FiLM",
}
WRITTEN_ANEW = ("config.json", adapter.SETTINGS, adapter.CONFIG, FILE, INDEX)


def read_model_config(folder: Path, shown: str, wanted: str) -> OpenVLAConfig:
    """The config of an OpenVLA checkpoint. Raises CheckpointError for one of another family."""
    config = read_own_config(str(folder), wanted, shown)
    if not config.timm_model_ids or not config.image_sizes:
        raise CheckpointError(f"policy.path: config.json of '{shown}' lacks timm_model_ids or image_sizes")
    return config


def load_model(
    folder: Path, model_config: OpenVLAConfig, config: PolicyConfig, device: torch.device
) -> OpenVLAForActionPrediction:
    """The model with all weights of the folder.

    Raises:
        CheckpointError: weights that are damaged, missing, of other shapes, or not the model's.
    """
    # The state's projector has a file of its own.
    model = load_pretrained(
        OpenVLAForActionPrediction, folder, config, lambda name: name.startswith(PROPRIO), config=model_config
    )
    if model.proprio_projector is not None:
        _load_proprio(model.proprio_projector, folder)
    return model.to(device).train()


def projector_file(folder: Path) -> Path | None:
    """The file of the state's projector, or None where the folder has none."""
    published = sorted(folder.glob(PUBLISHED_PROPRIO))
    return next((path for path in (folder / PROPRIO_FILE, *published[-1:]) if path.is_file()), None)


def refuse_other_heads(folder: Path, shown: str) -> None:
    """Raises CheckpointError where files beside the weights say that tokens are not what the checkpoint acts with."""
    for pattern, what in OTHER_HEADS.items():
        for path in sorted(folder.glob(pattern)):
            raise CheckpointError(
                f"policy.path: '{shown}' acts with {what} ('{path.name}'), and policy.type openvla_oft decodes "
                "discrete tokens; use a checkpoint of those, or remove the file where they were trained too"
            )


def refuse_oft(folder: Path, model_config: OpenVLAConfig, shown: str) -> None:
    """Raises CheckpointError where a checkpoint for policy.type openvla is one of OpenVLA-OFT."""
    marks = [path.name for pattern in ("proprio_projector*", *OTHER_HEADS) for path in sorted(folder.glob(pattern))]
    if "chunk" in (model_config.params or {}):
        marks.append("params.chunk in config.json")
    if marks:
        raise CheckpointError(
            f"policy.path: '{shown}' is a checkpoint of OpenVLA-OFT ({marks[0]}), which predicts all tokens of a chunk "
            "at once; set policy.type to openvla_oft"
        )


def check_projector(folder: Path, state_dim: int | None, source: str, shown: str) -> None:
    """Raises CheckpointError where the checkpoint has a projector of states that are not read, or lacks one that is.

    Args:
        source: `policy.params.state_projector`.
    """
    path = projector_file(folder)
    if path is not None and state_dim is None:
        size = _read_proprio(path)["fc1.weight"].shape[-1]
        raise CheckpointError(
            f"policy.path: '{shown}' reads the robot's state ('{path.name}'), and policy.params.state_dim is unset; "
            f"set it to {size}"
        )
    if path is None and state_dim is not None and source != "new":
        raise CheckpointError(
            f"policy.path: '{shown}' has no {PROPRIO_FILE} nor {PUBLISHED_PROPRIO} for policy.params.state_dim "
            f"{state_dim}; copy it there, leave state_dim out, or set policy.params.state_projector: new to train one"
        )


def _read_proprio(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key.removeprefix("module."): value for key, value in state.items()}


def _load_proprio(projector: nn.Module, folder: Path) -> None:
    path = projector_file(folder)
    if path is None:
        return
    state = _read_proprio(path)
    try:
        projector.load_state_dict(state)
    except RuntimeError:
        size = state["fc1.weight"].shape[-1] if "fc1.weight" in state else "unknown"
        raise CheckpointError(
            f"policy.path: '{path}' does not fit policy.params.state_dim {projector.fc1.in_features}; the checkpoint's "
            f"is {size}: leave state_dim out, or set it to that"
        ) from None


def read_companions(folder: Path) -> dict[str, bytes]:
    """Every small file of the folder that is neither weights nor written anew, by name."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and (path.suffix in COMPANIONS or path.name in ABOUT) and path.name not in WRITTEN_ANEW
    }


def save_beside(
    model: OpenVLAForActionPrediction, norm_stats: Mapping[str, Any], companions: Mapping[str, bytes], folder: Path
) -> None:
    """Writes the projector of states, the statistics and the companion files."""
    from safetensors.torch import save_file

    if model.proprio_projector is not None:
        state = model.proprio_projector.state_dict()
        save_file({name: value.detach().contiguous() for name, value in state.items()}, folder / PROPRIO_FILE)
    for name, content in companions.items():
        (folder / name).write_bytes(content)
    if norm_stats:
        save_statistics(norm_stats, folder)
