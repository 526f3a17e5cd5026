"""Checkpoint folders to models, with every load problem an error instead of random weights."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from mmrl.compat import ensure_torchvision
from mmrl.config import PolicyConfig
from mmrl.errors import CheckpointError, ConfigError, nearest, unknown

PACKAGED = {"quickstart": Path(__file__).resolve().parents[1] / "assets" / "quickstart"}


def resolve_device(name: str) -> torch.device:
    """`auto` takes CUDA where there is one. Raises ConfigError on a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"policy.device: '{name}' is no device. Allowed: auto, cpu, cuda, cuda:0, …") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"policy.device: '{name}' asked for, but this torch sees no CUDA device; use cpu or auto")
    return device


def checkpoint_path(path: str) -> str:
    """The folder or hub name to load. Raises CheckpointError when it reads as a folder and none is there."""
    if path in PACKAGED:
        return str(PACKAGED[path])
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"policy.path: '{path}' holds no config.json, so it is no checkpoint")
        return str(folder)
    is_hub_name = path.count("/") == 1 and not path.startswith((".", "/", "~")) and not folder.parent.is_dir()
    if not is_hub_name:
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise CheckpointError(
            f"policy.path: no checkpoint folder at '{path}'.{nearest(folder.name, [*siblings, *PACKAGED])} "
            "Give a folder, a hub name (owner/name), or quickstart; `mmrl tiny qwen2_5_vl DIR` makes a small one"
        )
    return path


def load_checkpoint(config: PolicyConfig, families: Collection[str], device: torch.device) -> tuple[Any, Any]:
    """(model, processor) of a checkpoint.

    Raises:
        CheckpointError: not there, of a family outside `families`, weights missing or of other shapes.
    """
    ensure_torchvision()
    import transformers
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    transformers.utils.logging.disable_progress_bar()
    path = checkpoint_path(config.path)
    try:
        family = AutoConfig.from_pretrained(path).model_type
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise CheckpointError(f"policy.path: cannot read '{config.path}': {_first_line(error)}") from None
    if family not in families:
        raise CheckpointError(f"policy.path: '{config.path}' is a {unknown('qwen_vl family', family, families)}")
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            path,
            dtype=getattr(torch, config.dtype),
            attn_implementation=config.attention,
            output_loading_info=True,
        )
        processor = AutoProcessor.from_pretrained(path)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise CheckpointError(f"policy.path: '{config.path}' does not load: {_first_line(error)}") from None
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(problem):
            names = sorted(map(str, info[problem]))
            raise CheckpointError(
                f"policy.path: '{config.path}' has {len(names)} {problem.replace('_', ' ')}, first '{names[0]}'; "
                "it is a checkpoint of another model or an incomplete one"
            )
    types = getattr(model.config.get_text_config(), "layer_types", None) or []
    if config.packing == "group" and any("sliding" in t for t in types):
        raise ConfigError("policy.packing: 'group' does not fit sliding-window layers; set it to 'row'")
    return model.to(device).train(), processor


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
