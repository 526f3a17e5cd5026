"""Reading and writing checkpoint folders in the published layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.config import PolicyConfig
from mmrl.data.robot.statistics import FILE, save_statistics
from mmrl.errors import CheckpointError
from mmrl.policies.loading import COMPANIONS, quiet_transformers, read_config, refuse_incomplete
from mmrl.policies.openvla.config import OpenVLAConfig
from mmrl.policies.openvla.model import OpenVLAForActionPrediction

# Published checkpoints are cut into files of this size.
SHARD_SIZE = "5GB"
PROPRIO = "proprio_projector."
PROPRIO_FILE = "proprio_projector.safetensors"
# OpenVLA-OFT's own name, with the training step in the middle.
PUBLISHED_PROPRIO = "proprio_projector--*checkpoint.pt"
WRITTEN_ANEW = ("config.json", FILE, "model.safetensors.index.json")


def read_model_config(folder: Path, shown: str, wanted: str) -> OpenVLAConfig:
    """The config of an OpenVLA checkpoint. Raises CheckpointError for one of another family."""
    config = read_config(str(folder))
    if config.model_type != "openvla":
        raise CheckpointError(
            f"policy.path: '{shown}' is a checkpoint of {config.model_type}, and policy.type '{wanted}' reads "
            "openvla; set policy.type to the adapter of that family"
        )
    if not config.timm_model_ids or not config.image_sizes:
        raise CheckpointError(f"policy.path: config.json of '{shown}' lacks timm_model_ids or image_sizes")
    return config


def load_model(
    folder: Path, model_config: OpenVLAConfig, config: PolicyConfig, device: torch.device
) -> OpenVLAForActionPrediction:
    """The model with all weights of the folder.

    A proprioception projector that no file holds is new: OpenVLA-OFT adds it to checkpoints without one.

    Raises:
        CheckpointError: weights that are damaged, missing, of other shapes, or not the model's.
    """
    from safetensors import SafetensorError

    shown = config.path
    try:
        with quiet_transformers():
            model, info = OpenVLAForActionPrediction.from_pretrained(
                folder,
                config=model_config,
                dtype=getattr(torch, config.dtype),
                attn_implementation=config.attention,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                use_safetensors=True,
            )
    except SafetensorError as error:
        raise CheckpointError(
            f"policy.path: a weights file of '{shown}' is damaged ({_first_line(error)}); copy it again"
        ) from None
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise CheckpointError(f"policy.path: '{shown}' does not load: {_first_line(error)}") from None
    info = {**info, "missing_keys": [k for k in info["missing_keys"] if not k.startswith(PROPRIO)]}
    refuse_incomplete(info, shown)
    if model.proprio_projector is not None:
        _load_proprio(model.proprio_projector, folder)
    return model.to(device).train()


def _load_proprio(projector: nn.Module, folder: Path) -> None:
    published = sorted(folder.glob(PUBLISHED_PROPRIO))
    if (folder / PROPRIO_FILE).is_file():
        from safetensors.torch import load_file

        path, state = folder / PROPRIO_FILE, load_file(folder / PROPRIO_FILE)
    elif published:
        path = published[-1]
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {key.removeprefix("module."): value for key, value in state.items()}
    else:
        return
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
        if path.is_file() and path.suffix in COMPANIONS and path.name not in WRITTEN_ANEW
    }


def save(
    model: OpenVLAForActionPrediction,
    state: Mapping[str, Tensor],
    norm_stats: Mapping[str, Any],
    companions: Mapping[str, bytes],
    folder: Path,
) -> None:
    """Writes weights (in shards, with their index), config.json, the statistics and the companion files."""
    from safetensors.torch import save_file

    proprio = {k.removeprefix(PROPRIO): v.detach().contiguous() for k, v in state.items() if k.startswith(PROPRIO)}
    rest = {k: v for k, v in state.items() if not k.startswith(PROPRIO)}
    model.config.norm_stats = dict(norm_stats)
    model.save_pretrained(folder, state_dict=rest, max_shard_size=SHARD_SIZE)
    if proprio:
        save_file(proprio, folder / PROPRIO_FILE)
    for name, content in companions.items():
        (folder / name).write_bytes(content)
    if norm_stats:
        save_statistics(norm_stats, folder)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
