"""Small random π0 and π0.5 checkpoints in transformers' layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.policies.tiny.saving import prepare_libraries

SIZE: dict[str, Any] = {
    "hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32, "mlp": 128, "vocab": 896,
    "vision_hidden": 64, "vision_layers": 2, "vision_heads": 2, "vision_mlp": 128, "image": 28, "patch": 7,
    "expert_hidden": 64, "expert_mlp": 128, "horizon": 4, "action_dim": 3, "state_dim": 4, "dataset": "tabletop",
}  # fmt: skip
SIZES = {"pi0": SIZE, "pi05": SIZE}
# Those of uniform actions in [-1, 1] and states in [0, 1].
ACTION = {"mean": 0.0, "std": 0.6, "q01": -1.0, "q99": 1.0}
STATE = {"mean": 0.5, "std": 0.3, "q01": 0.0, "q99": 1.0}


def write(family: str, folder: Path, seed: int, size: Mapping[str, Any]) -> Path:
    """Writes a checkpoint.

    Args:
        family: `pi0` or `pi05`.
        size: overrides of `SIZES`; `image` is the side in pixels, a multiple of `patch`; `horizon` the actions that are
            predicted at once; the `_dim`s are those of the simulator (default: tabletop's).
    """
    prepare_libraries()
    import torch
    from transformers import PI0Processor
    from transformers.models.pi0.image_processing_pi0 import PI0ImageProcessor

    from mmrl.data.robot.statistics import FILE
    from mmrl.policies.pi0.checkpoint import model_class
    from mmrl.policies.tiny.openvla import train_tokenizer

    sizes = {**SIZES[family], **size}
    side = {"height": sizes["image"], "width": sizes["image"]}
    features = (sizes["image"] // sizes["patch"]) ** 2
    processor = PI0Processor(
        PI0ImageProcessor(size=side, pad_size=side, image_seq_length=features), train_tokenizer(sizes["vocab"])
    )
    cls = model_class(family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls(_config(cls.config_class, sizes, processor.image_token_id))
        _draw(model)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / FILE).write_text(json.dumps(_statistics(sizes), indent=1))
    return folder


def _draw(model: Any) -> None:
    """Draws matrices at 1 / sqrt(fan-in): large models' initialisation is too small for inputs this narrow."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Norms' modulations start at 0, and tables of tokens are scaled by the model.
            if parameter.ndim > 1 and not name.endswith(("norm.dense.weight", "embed_tokens.weight")):
                parameter.normal_(std=parameter[0].numel() ** -0.5)


def _config(cls: Any, sizes: Mapping[str, Any], image_token: int) -> Any:
    heads = {
        "num_hidden_layers": sizes["layers"], "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["kv_heads"], "head_dim": sizes["head_dim"],
    }  # fmt: skip
    text = {
        "model_type": "gemma", "vocab_size": sizes["vocab"] + 64, "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["mlp"], "initializer_range": sizes["hidden"] ** -0.5, **heads,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": sizes["vision_hidden"],
        "intermediate_size": sizes["vision_mlp"], "patch_size": sizes["patch"], "image_size": sizes["image"],
        "num_hidden_layers": sizes["vision_layers"], "num_attention_heads": sizes["vision_heads"],
        "vision_use_head": False,
    }  # fmt: skip
    vlm = {
        "model_type": "paligemma", "text_config": text, "vision_config": vision, "projection_dim": sizes["hidden"],
        "image_token_id": image_token, "initializer_range": sizes["hidden"] ** -0.5,
    }  # fmt: skip
    expert = {
        "model_type": "gemma", "vocab_size": 8, "hidden_size": sizes["expert_hidden"],
        "intermediate_size": sizes["expert_mlp"], "initializer_range": sizes["expert_hidden"] ** -0.5, **heads,
    }  # fmt: skip
    return cls(
        vlm_config=vlm,
        dit_config=expert,
        chunk_size=sizes["horizon"],
        max_state_dim=sizes["state_dim"],
        max_action_dim=sizes["action_dim"],
        num_inference_steps=4,
        initializer_range=sizes["expert_hidden"] ** -0.5,
    )


def _statistics(sizes: Mapping[str, Any]) -> dict[str, Any]:
    def each(values: Mapping[str, float], count: int) -> dict[str, list[float]]:
        return {name: [value] * count for name, value in values.items()}

    return {sizes["dataset"]: {"action": each(ACTION, sizes["action_dim"]), "proprio": each(STATE, sizes["state_dim"])}}
