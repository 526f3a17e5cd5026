"""The memory that a recipe would take with checkpoints of published sizes, by the estimate of `mmrl train --dry-run`.

The models are built from their sizes alone, without weights (torch's `meta` device), so that a table takes seconds and
no memory. Sizes are those of the config.json of Qwen2-VL-2B, Qwen2.5-VL-3B and Qwen2.5-VL-7B.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mmrl.policies import training
from mmrl.policies.compat import ensure_torchvision
from mmrl.policies.loading import PACKAGED
from mmrl.policies.qwen_vl.policy import QwenVL
from mmrl.recipe.schema import load_recipe
from mmrl.trainer.memory import Estimate, estimate

GB = 1e9
QWEN2_5_TOWER = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420}
# Family, parameters in the published weights, text model, vision tower.
MODELS: Mapping[str, tuple[str, int, Mapping[str, Any], Mapping[str, Any]]] = {
    "Qwen2-VL-2B": (
        "qwen2_vl",
        2_208_985_600,
        {
            "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
            "intermediate_size": 8960, "vocab_size": 151936, "tie_word_embeddings": True,
        },
        {"depth": 32, "embed_dim": 1280, "num_heads": 16, "hidden_size": 1536},
    ),
    "Qwen2.5-VL-3B": (
        "qwen2_5_vl",
        3_754_622_976,
        {
            "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
            "intermediate_size": 11008, "vocab_size": 151936, "tie_word_embeddings": True,
        },
        {**QWEN2_5_TOWER, "out_hidden_size": 2048},
    ),
    "Qwen2.5-VL-7B": (
        "qwen2_5_vl",
        8_292_166_656,
        {
            "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
            "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False,
        },
        {**QWEN2_5_TOWER, "out_hidden_size": 3584},
    ),
}  # fmt: skip
TRAINED = {
    "LoRA, rank 64": {"lora": {"rank": 64, "alpha": 128}},
    "language model": {"freeze": ["vision", "projector"]},
    "all weights": {},
}
PROMPT, VISUAL = 1024, 768


def build(name: str) -> nn.Module:
    """A model of a published size on the `meta` device, in bfloat16.

    Raises:
        ValueError: it has another number of parameters than the published weights.
    """
    ensure_torchvision()
    from transformers import AutoConfig, AutoModelForImageTextToText

    family, published, text, vision = MODELS[name]
    tied = text["tie_word_embeddings"]
    config = AutoConfig.for_model(family, text_config=dict(text), vision_config=dict(vision), tie_word_embeddings=tied)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    count = sum(parameter.numel() for parameter in model.parameters())
    if count != published:
        raise ValueError(f"{name} has {count} parameters here, and {published} where it was published")
    return model


def measure(name: str, trained: Mapping[str, Any], overrides: list[str]) -> Estimate:
    """The estimate for a model, trained in these parts, of the recipe below with overrides."""
    ensure_torchvision()
    from transformers import AutoProcessor

    raw = {
        "name": "memory",
        "policy": {"path": "quickstart", "dtype": "bfloat16", "gradient_checkpointing": True, **trained},
        "data": {"train": [{"type": "digits"}]},
        "method": "grpo",
        "steps": 1,
        "prompts": 32,
        "rollout": {"n": 8, "max_new_tokens": 512},
        "engine": {"batch_size": 64},
        "micro_tokens": 8192,
    }
    recipe = load_recipe(raw, overrides)
    processor = AutoProcessor.from_pretrained(PACKAGED["quickstart"])
    policy = QwenVL(training.prepare(build(name), recipe.policy), processor, recipe.policy)
    return estimate(recipe, policy, PROMPT, VISUAL)


def row(name: str, words: str, overrides: list[str]) -> str:
    """A line of the table."""
    guess = measure(name, TRAINED[words], overrides)
    update = guess.activations + guess.logits
    sizes = (guess.weights, guess.moments, guess.gradients, update, guess.cache, guess.peak)
    cells = [name, words, f"{guess.trainable / 1e9:.2f} B", *(f"{size / GB:.1f}" for size in sizes)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="of the recipe, e.g. micro_tokens=16384")
    overrides = parser.parse_args().overrides
    print("| model | trained | parameters trained | weights | moments | gradients | update | rollouts | peak |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in MODELS:
        for words in TRAINED:
            print(row(name, words, overrides))


if __name__ == "__main__":
    main()
