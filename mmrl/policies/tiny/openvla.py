"""Small random OpenVLA checkpoints in the published layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.policies.tiny import CORPUS
from mmrl.policies.tiny.saving import prepare_libraries

SIZE: dict[str, Any] = {
    "hidden": 128, "layers": 2, "heads": 4, "kv_heads": 4, "mlp": 256, "vocab": 896,
    "vision_hidden": 64, "vision_layers": 3, "vision_heads": 2, "image": 56, "patch": 14,
    "action_dim": 3, "state_dim": 4, "bins": 256, "dataset": "tabletop",
}  # fmt: skip
SIZES = {"openvla": SIZE, "openvla_oft": {**SIZE, "chunk": 4}}
PADDING = 64


def write(family: str, folder: Path, seed: int, size: Mapping[str, Any]) -> Path:
    """Writes a checkpoint whose actions are the simulator's own, in [-1, 1].

    Args:
        family: `openvla` or `openvla_oft`.
        size: overrides of `SIZES`; `image` is the side in pixels, a multiple of `patch`; the `_dim`s are those of the
            simulator (default: tabletop's); fewer `bins` than the published 256 learn sooner.
    """
    prepare_libraries()
    import torch

    from mmrl.policies.lora import weights_of
    from mmrl.policies.openvla import checkpoint
    from mmrl.policies.openvla.model import OpenVLAForActionPrediction
    from mmrl.policies.saving import write_model

    sizes = {**SIZES[family], **size}
    tokenizer = train_tokenizer(sizes["vocab"], sizes["bins"])
    config = _config(family, sizes, len(tokenizer) - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = OpenVLAForActionPrediction(config)
        for tower in model.vision_backbone.towers:
            # As large as the patches: a model this small would take long to learn where things are.
            torch.nn.init.normal_(tower.pos_embed)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_preprocessor(sizes["image"]), indent=1))
    model.config.norm_stats = _statistics(sizes)
    weights = {name: w for name, w in weights_of(model).items() if not name.startswith(checkpoint.PROPRIO)}
    write_model(model, weights, "float32", folder)
    checkpoint.save_beside(model, model.config.norm_stats, {}, folder)
    return folder


def train_tokenizer(vocab: int, bins: int = 256) -> Any:
    """Llama's tokenizer class with a BPE trained on the built-in corpus, filled up with rare characters.

    `vocab` ids as in Llama's: the last `bins` stand for nothing that occurs in prompts. `<PAD>` follows them. Raises
    UserError where they are too few.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaTokenizer

    specials = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # Merges stay within words, as sentencepiece's do.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=max(1, vocab - bins - 256),
        special_tokens=specials,
        initial_alphabet=["▁", "\n"],
        show_progress=False,
    )
    prompt = "In: What action should the robot take to reach the red block?\nOut:"
    tokenizer.train_from_iterator([line for line in (*(c.lower() for c in CORPUS), prompt) for _ in range(4)], trainer)
    state = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    learned = [t for t, _ in sorted(state["vocab"].items(), key=lambda item: item[1]) if t not in specials]
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *learned]
    if len(tokens) > vocab - bins:
        raise UserError(
            f"vocab {vocab} has no room for {len(tokens)} tokens of text and {bins} action bins; set it to at least "
            f"{len(tokens) + bins}"
        )
    rare = (chr(code) for code in range(0x4E00, 0x9FFF))
    tokens += [next(rare) for _ in range(vocab - len(tokens))]
    llama = LlamaTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, pad_token="<PAD>")
    llama.model_max_length = 2048
    return llama


def _config(family: str, sizes: Mapping[str, Any], pad: int) -> Any:
    from mmrl.policies.openvla.config import OpenVLAConfig

    tower = {
        "embed_dim": sizes["vision_hidden"], "depth": sizes["vision_layers"], "num_heads": sizes["vision_heads"],
        "patch_size": sizes["patch"], "mlp_ratio": 2,
    }  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": pad + PADDING, "pad_token_id": pad, "hidden_size": sizes["hidden"],
        "intermediate_size": sizes["mlp"], "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"], "num_key_value_heads": sizes["kv_heads"],
        "initializer_range": sizes["hidden"] ** -0.5,
    }  # fmt: skip
    oft = {"chunk": sizes["chunk"], "state_dim": sizes["state_dim"]} if family == "openvla_oft" else None
    return OpenVLAConfig(
        text_config=text,
        timm_model_ids=["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        timm_override_act_layers=[None, None],
        # DINOv2's layer scales start at 1e-5, which shuts its blocks off until they have been trained for long.
        timm_overrides=[{**tower, "init_values": 1.0}, tower],
        image_sizes=[sizes["image"]] * 2,
        pad_token_id=pad,
        pad_to_multiple_of=PADDING,
        n_action_bins=sizes["bins"],
        params=oft,
    )


def _preprocessor(image: int) -> dict[str, Any]:
    """`preprocessor_config.json` with DINOv2's and SigLIP's normalisation."""
    return {
        "image_processor_type": "PrismaticImageProcessor",
        "processor_class": "PrismaticProcessor",
        "image_resize_strategy": "resize-naive",
        "input_sizes": [[3, image, image]] * 2,
        "interpolations": ["bicubic"] * 2,
        "means": [[0.485, 0.456, 0.406], [0.5, 0.5, 0.5]],
        "stds": [[0.229, 0.224, 0.225], [0.5, 0.5, 0.5]],
        "use_fused_vision_backbone": True,
    }


def _statistics(sizes: Mapping[str, Any]) -> dict[str, Any]:
    def unit(count: int) -> dict[str, list]:
        return {"q01": [-1.0] * count, "q99": [1.0] * count, "mask": [True] * count}

    return {sizes["dataset"]: {"action": unit(sizes["action_dim"]), "proprio": unit(sizes["state_dim"])}}
