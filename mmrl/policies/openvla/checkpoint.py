"""Reading and writing checkpoint folders in the published layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.config import PolicyConfig
from mmrl.data.robot.statistics import FILE, save_statistics
from mmrl.errors import CheckpointError, unknown
from mmrl.policies.loading import checkpoint_path, read_config, refuse_incomplete
from mmrl.policies.openvla.config import OpenVLAConfig
from mmrl.policies.openvla.model import OpenVLAForActionPrediction

# Published checkpoints are cut into files of this size.
SHARD_SIZE = "5GB"
PROPRIO = "proprio_projector."
PROPRIO_FILE = "proprio_projector.safetensors"
# OpenVLA-OFT's own name, with the training step in the middle.
PUBLISHED_PROPRIO = "proprio_projector--*checkpoint.pt"
# Tokenizer, preprocessor and the published code: written back as they were read.
COMPANIONS = (".json", ".model", ".txt", ".py", ".jinja")
WRITTEN_ANEW = ("config.json", FILE, "model.safetensors.index.json")


def local_folder(path: str) -> Path:
    """The folder of a checkpoint, fetched first where `path` is a hub name. Raises CheckpointError."""
    found = Path(checkpoint_path(path))
    if found.is_dir():
        return found
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        patterns = ["*.safetensors", *(f"*{suffix}" for suffix in COMPANIONS), PUBLISHED_PROPRIO]
        return Path(snapshot_download(path, allow_patterns=patterns))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise CheckpointError(f"policy.path: '{path}' cannot be fetched: {str(error).splitlines()[0]}") from None


def read_model_config(folder: Path, shown: str) -> OpenVLAConfig:
    """The config of an OpenVLA checkpoint. Raises CheckpointError for one of another family."""
    config = read_config(str(folder))
    if config.model_type != "openvla":
        raise CheckpointError(
            f"policy.path: '{shown}' is a {unknown('openvla family', config.model_type, ['openvla'])}; "
            "set policy.type to the adapter of that family"
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
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.disable_progress_bar()
    shown = config.path
    try:
        model, info = OpenVLAForActionPrediction.from_pretrained(
            folder,
            config=model_config,
            dtype=getattr(torch, config.dtype),
            attn_implementation=config.attention,
            output_loading_info=True,
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
    except RuntimeError as error:
        raise CheckpointError(
            f"policy.path: '{path}' does not fit policy.params.state_dim {projector.fc1.in_features}: "
            f"{_first_line(error)}"
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
