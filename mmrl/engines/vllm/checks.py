"""Models that vLLM does not compute as the trainer does, refused before it starts."""

from __future__ import annotations

from typing import Any

import torch

from mmrl.contracts.errors import ConfigError

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
# Of vLLM's attention on a CPU.
CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def check_model(config: Any, device: torch.device) -> None:
    """Raises ConfigError on a transformers config of another family, or with heads that the backend lacks."""
    if config.model_type not in FAMILIES:
        raise ConfigError(
            f"engine.name: 'vllm' samples {', '.join(FAMILIES)}, and policy.path is a {config.model_type}; set "
            "engine.name: hf"
        )
    text = config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if device.type == "cpu" and size not in CPU_HEAD_SIZES:
        raise ConfigError(
            f"engine.name: vLLM's attention on a CPU has no heads of {size} dimensions, as this checkpoint's are. "
            f"Allowed: {', '.join(map(str, CPU_HEAD_SIZES))}; set engine.name: hf"
        )
